"""What old tills leave behind the last line: the Ctrl-Z that ends a text of DOS, and NUL up to the end of a block."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

PADS: Final = b"\0\x1a"
MOST_PADDING: Final = 1_048_576
_PAD: Final = re.compile(rb"[\0\x1a]")
_BEHIND_A_LINE: Final = re.compile(rb"(?<=[\r\n])[\0\x1a]")


class Unpadded:
    """A stream of bytes without the padding at its end, of at most MOST_PADDING bytes. The same bytes elsewhere are given as they are."""

    def __init__(self, source: BinaryIO, begun: bytes = b"") -> None:
        """`begun`: what was read of it before."""
        self._source, self._begun, self._held = source, begun, b""
        self._before = b"\n"
        """The byte in front of what is held back."""
        self.left_out = 0

    def read(self, size: int) -> bytes:
        """At least one byte; none at the end."""
        while block := self._begun or self._source.read(size):
            block, self._begun, self._held = self._held + block, b"", b""
            if block[-1] in b"\0\x1a\r\n" and (found := _PAD.search(block, len(block.rstrip(b"\0\x1a\r\n")))) is not None:
                given = found.start()
                if len(block) - given <= MOST_PADDING:
                    block, self._held = block[:given], block[given:]
            if block:
                self._before = block[-1:]
                return block
        last, self._held = self._before + self._held, b""
        behind = _BEHIND_A_LINE.search(last)
        good = behind.start() if behind else len(last.rstrip(PADS))  # then the last line has no end
        self.left_out += len(last) - max(good, 1)
        return last[1:good]


def told(padding: int) -> str:
    return f"{padding} bytes of padding behind the last line are left out: Ctrl-Z or NUL"
