import re

from gateway.cli.estate_reference import text
from tests.docs.demo import ROOT


def test_the_reference_of_the_estate_file_is_what_its_types_say() -> None:
    assert (ROOT / "docs/estate.md").read_text(encoding="utf-8") == text(), "stale: ./run publish writes it anew"


def test_every_key_of_the_reference_estate_is_explained() -> None:
    """What stands in estate.toml can be looked up: its tables' keys, those of inline tables too."""
    lines = (ROOT / "estate.toml").read_text(encoding="utf-8").splitlines()
    keys = {key for line in lines if not line.lstrip().startswith("#") for key in re.findall(r"(?:^|[{,] )(\w+) *= ", line)}
    named = {"web", "mobile", "store", "call_centre", "marketplace", "kind"}  # channels, and the tag of a union
    operations = {key for key in keys if key[0].isupper() or key.startswith("get")}
    page = text()
    assert {key for key in keys - named - operations if f"`{key}`" not in page} == set()
