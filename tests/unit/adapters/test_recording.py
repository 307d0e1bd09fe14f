from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from adapters import recording
from adapters.recording import Recorded
from contracts.errors import Findings

if TYPE_CHECKING:
    from pathlib import Path


def exchange(**more: object) -> Recorded:
    fields = {"system": "erp", "operation": "GetStock", "at": datetime(2026, 5, 4, tzinfo=UTC), "seconds": 0.1, "method": "POST"}
    return msgspec.structs.replace(Recorded(**fields, path="/erp", status=200), **more)  # type: ignore[arg-type]  # a table of fields


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    text = exchange(asked={"pairs": []}, rows=[], **recording.bodies(b"<a/>", "<ä/>".encode()))
    binary = exchange(**recording.bodies(b"\xff", b"\x00\xfe"))
    file = recording.path(tmp_path, "erp")
    recording.write(file, [text, binary])
    found = list(recording.read(file))
    assert found == [text, binary]
    assert (found[0].answer_bytes, found[1].request_bytes, found[1].answer_bytes) == ("<ä/>".encode(), b"\xff", b"\x00\xfe")
    assert [f.name for f in file.parent.iterdir()] == ["erp.jsonl"]


@pytest.mark.parametrize("line", [b"{}", b"\xff", b"[" * 100_000, b"nonsense", b'{"system":1}'])
def test_a_line_that_is_no_exchange_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "erp.jsonl"
    recording.write(file, [exchange()])
    with file.open("ab") as out:
        out.write(line + b"\n")
    with pytest.raises(Findings) as refused:
        list(recording.read(file))
    assert str(refused.value).startswith(f"{file}:2: not a recorded exchange")


def test_bodies_that_are_no_base64_are_refused_when_read(tmp_path: Path) -> None:
    file = tmp_path / "erp.jsonl"
    recording.write(file, [exchange(binary=True, answer="*")])
    with pytest.raises(Findings):
        list(recording.read(file))
