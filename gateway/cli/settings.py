"""What every command is given: where the estate is and where data lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


DEMO = "demo"


@dataclass(frozen=True)
class Settings:
    estate: Path
    data: Path

    @property
    def books(self) -> Path:
        """Where commands look: the data folder, or that of the demo inside it when only a demo ever ran here."""
        demo = self.data / DEMO
        return demo if demo.is_dir() and not (self.data / "tillgate.db").exists() else self.data


def reference_estate() -> Path:
    """The estate that comes with Tillgate: the checkout's root, or the copy inside an installed package."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / "estate.toml").is_file() else _PACKAGE / "reference"
