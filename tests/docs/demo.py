"""`./run demo` as a child process, and what it says about itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/nonexistent"), "LC_ALL": "C.UTF-8"}
"""The environment of somebody who has just logged in."""


@dataclass(frozen=True)
class Demo:
    folder: Path
    """Where it was started: looks like the checkout, and keeps what it writes."""
    base: str
    control: str
    keys: dict[str, str]
    welcome: str


def checkout(folder: Path) -> Path:
    """A folder that looks like the checkout to whoever stands in it."""
    for name in ("run", ".venv", "estate.toml", "contracts", "mappings"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        child = subprocess.Popen(
            [folder / "run", "demo", "--port", "0"], cwd=folder, env=CLEAN, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield _told(folder, child, said)
            child.send_signal(signal.SIGINT)
            assert child.wait(30) in (0, 130), "Ctrl-C ends the demo"
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(10)


def _told(folder: Path, child: subprocess.Popen[bytes], said: TextIO) -> Demo:
    until = time.monotonic() + 60
    while True:
        text = Path(f"/proc/self/fd/{said.fileno()}").read_text(encoding="utf-8")
        if "Ctrl-C stops everything" in text:
            break
        assert child.poll() is None, f"the demo ended:\n{text}"
        assert time.monotonic() < until, f"the demo does not come up:\n{text}"
        time.sleep(0.1)
    api = re.search(r"API\s+(\S+)", text)
    control = re.search(r"Sandbox\s+(\S+)", text)
    assert api, text
    assert control, text
    keys = dict(re.findall(r"^\s+(\w+)\s+(tg_\S+)$", text, re.MULTILINE))
    return Demo(folder, api[1], control[1], keys, text)
