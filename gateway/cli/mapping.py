"""`tillgate map …`: look into mappings, try them on a document, run their examples, see what they cover."""

from __future__ import annotations

import rich_click as click


@click.group("map")
def mapping() -> None:
    """Mappings of the estate."""


COMMANDS: list[click.Command] = [mapping]
