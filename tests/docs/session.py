"""A document as a session: its fenced blocks in order, typed into one shell, with the answers it promises.

    ```console                      commands behind `$ `, what they print below; `…` stands for anything left out
    ```console exit=1               the block's commands end with 1
    ```toml file=shop/estate.toml   written before the next command runs; `append=` adds to what is there

White space does not count in what is compared, so a document may fold long lines. A command that ends with `&` runs on; what it prints
is waited for. `./run` alone stands for the demo, which runs already.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FENCE = re.compile(r"^```(\w+)?[ \t]*([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_SECONDS = 60


@dataclass(frozen=True)
class File:
    path: str
    text: str
    append: bool
    line: int


@dataclass(frozen=True)
class Command:
    text: str
    expected: str
    exit: int
    line: int


def steps(document: str) -> Iterator[File | Command]:
    for block in _FENCE.finditer(document):
        language, info, body = block[1] or "", dict(p.split("=", 1) for p in block[2].split() if "=" in p), block[3]
        line = document[: block.start()].count("\n") + 2
        if path := info.get("file") or info.get("append"):
            yield File(path, body, "append" in info, line)
        elif language in ("console", "sh", "bash"):
            yield from _commands(body, int(info.get("exit", 0)), line)


def _commands(body: str, status: int, first: int) -> Iterator[Command]:
    lines = body.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    for i, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        last = i
        while lines[last].endswith("\\") and last + 1 < end:
            last += 1
        yield Command("\n".join([lines[i][2:], *lines[i + 1 : last + 1]]), "\n".join(lines[last + 1 : end]), status, first + i)


def answers(expected: str, said: str) -> bool:
    """Whether what was said is what the document promises."""
    bare, found = "".join(expected.split()), "".join(re.sub(r"\x1b\[[0-9;]*m", "", said).split())
    return re.fullmatch(".*?".join(map(re.escape, bare.split("…"))), found, re.DOTALL) is not None


class Shell:
    """One bash for a whole document, in a folder of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="shell", daemon=True)
        self._reader.start()
        self._number = 0

    def _read(self) -> None:
        assert self._bash.stdout
        for line in self._bash.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def write(self, file: File) -> None:
        path = self._folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if file.append else "w", encoding="utf-8") as out:
            out.write(file.text)

    def run(self, text: str, expected: str) -> tuple[int, str]:
        """Exit code and output of one command; of one that runs on (`&`), what it printed until that was what is expected."""
        assert self._bash.stdin
        self._number += 1
        mark = f"--- {self._number} ended with"
        self._bash.stdin.write(f"{text}\nprintf '\\n{mark} %s\\n' $?\n")
        self._bash.stdin.flush()
        until, said, status = time.monotonic() + _SECONDS, "", -1
        runs_on = text.rstrip().endswith("&")
        while status < 0 or (runs_on and not answers(expected, said)):
            try:
                line = self._lines.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no end of {text!r} after {_SECONDS} s; it said:\n{said}") from None
            assert line is not None, f"the shell ended in {text!r}; it said:\n{said}"
            if line.startswith(mark):
                status = int(line.removeprefix(mark))
            else:
                said += line
        return status, said.strip()

    def close(self) -> None:
        """Ends whatever the document started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._bash.pid, number)
                self._bash.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._bash.wait(10)
        for pipe in (self._bash.stdin, self._bash.stdout):
            if pipe:
                pipe.close()
