import json
import re

from contracts.ports import CAPABILITIES
from gateway.cli import noun_reference
from gateway.cli.estate_reference import text
from observability.rootcause.answer import published
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


def test_every_noun_of_a_capability_is_listed_with_the_fields_that_a_mapping_may_write() -> None:
    page = (ROOT / "docs/reference/nouns.md").read_text(encoding="utf-8")
    assert page == noun_reference.text(), "stale: ./run publish writes it anew"
    for capability in CAPABILITIES.values():
        for noun in (capability.request, capability.answer):
            section = page.partition(f"\n## {noun.__name__}\n")[2].partition("\n## ")[0]
            listed = {name.rstrip("[]") for name in re.findall(r"^\| `([^`.]+)`", section, re.MULTILINE)}
            assert listed == set(noun.__struct_fields__) - {"provenance"}


def test_the_schema_of_what_causes_prints_is_what_its_types_say() -> None:
    page = json.loads((ROOT / "docs/reference/causes.schema.json").read_text(encoding="utf-8"))
    assert page == published(), "stale: ./run publish writes it anew"
