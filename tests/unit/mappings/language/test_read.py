from __future__ import annotations

from mappings.language.read import read
from tests.unit.mappings.language.shapes import findings

GOOD = """
target = "InventoryLevel"   # a comment with = and [brackets]
source = "erp.GetStock/T_STOCK/item"
doc = \"\"\"
many = "lines"
[not] a table
\"\"\"

[fields]
sku = "MATNR | strip_zeros"
location_id = 'WERKS'

[fields.posted_through]
each = "T_KASSE.item"
"workstation_id" = "KASSE"
net.of = "x"

[drops]
"root.T_RETURN" = "messages"

[[example]]
given = '''
<x a="]"/>
'''
error = "x"

[[example]]
given = "y"
error = "z"
"""


def test_every_key_keeps_its_line_and_column_beside_multi_line_texts() -> None:
    parsed, found = read(GOOD, "m.toml")
    assert found == []
    lines = GOOD.splitlines()
    places = parsed.places
    assert lines[places["fields", "sku"].line - 1].startswith("sku")
    assert lines[places["fields", "sku"].line - 1][places["fields", "sku"].column - 1 :].startswith('"MATNR')
    assert lines[places["fields", "posted_through", "workstation_id"].line - 1].startswith('"workstation_id"')
    assert lines[places["fields", "posted_through", "net", "of"].line - 1].startswith("net.of")
    assert lines[places["drops", "root.T_RETURN"].line - 1].startswith('"root.T_RETURN"')
    assert lines[places["example", 1, "given"].line - 1] == 'given = "y"'
    assert "many" not in {p[0] for p in places}


def test_mistakes_of_form_are_all_found_at_once_with_their_lines() -> None:
    found = [
        str(f)
        for f in read('target = 3\nsorce = "a.B"\n[fields]\nsku = "A |"\nname = ""\nx = 1.5\n[drops]\nY = ""\n[[refuse]]\n', "m.toml")[1]
    ]
    assert any(f.startswith("m.toml:2") and "did you mean source?" in f for f in found)
    for line, part in (
        (1, "target is int"),
        (4, "not an expression"),
        (5, "empty expression"),
        (6, "x is float"),
        (8, "gives no reason"),
        (9, "no condition"),
    ):
        assert any(f.startswith(f"m.toml:{line}") and part in f for f in found), part


def test_text_that_is_not_toml_is_one_finding_at_its_line() -> None:
    assert findings('target = "x"\nsource = \n')[0].startswith("mappings/test.toml:2:10: not TOML: Invalid value")


def test_an_oversized_file_is_refused_before_it_is_parsed() -> None:
    assert "at most 1000000" in str(read("#" * 1_000_001, "m.toml")[1][0])
