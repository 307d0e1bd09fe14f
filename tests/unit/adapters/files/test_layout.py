from pathlib import Path

import pytest

from adapters.files.driver import FileContract
from adapters.files.layout import load, parse
from contracts.errors import Findings
from mappings.language.shape import Leaf, Record

GOOD = """
[file]
format = "delimited"
name = 'S_(?P<store>\\d{4})\\.txt'
encoding = "utf-8"
delimiter = ";"
quote = '"'
record_type = { position = 1 }
transaction = "T"

[record.T]
role = "transaction"
occurs = "0..n"
fields = [
  { name = "no", type = "integer", digits = 6, required = true },
  { name = "flags", type = "flags", values = { T = "training", C = "cancelled" } },
]

[record.L]
role = "detail"
parent = "T"
occurs = "1..n"
fields = [
  { name = "amount", type = "decimal", digits = 9, decimals = 2, sign = "trailing", required = true },
]
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(Findings) as caught:
        parse(text, "x.toml", "x")
    return [str(f) for f in caught.value.findings]


@pytest.mark.parametrize("name", ["tlog", "poslog"])
def test_the_reference_layouts_are_without_a_finding(root: Path, name: str) -> None:
    layout = load(root / f"contracts/systems/pos/{name}.toml")
    assert (layout.name, layout.proves_file) == (name, True)


def test_the_shape_of_a_transaction_has_own_fields_then_headers_then_children(root: Path) -> None:
    contract = FileContract("pos", root / "contracts/systems/pos/tlog.toml")
    answer = contract.exchange("tlog").answer
    assert answer is not None
    names = [f.name for f in answer.root.fields]
    assert (answer.name, answer.form, names[9:]) == ("pos.tlog", "rows", ["FH", "TK", "TL", "TX", "TT", "TF"])
    lines = answer.root.get("TL")
    assert lines is not None
    assert lines.repeated
    flags = answer.root.get("flags")
    assert flags is not None
    assert isinstance(flags.shape, Record)
    assert [f.name for f in flags.shape.fields] == ["T", "C", "S", "O"]
    quantity = lines.shape.get("quantity") if isinstance(lines.shape, Record) else None
    assert quantity is not None
    assert quantity.shape == Leaf("decimal", digits=(9, 3))
    operator = answer.root.get("operator")
    assert operator is not None
    assert operator.personal


def test_an_unknown_feed_of_a_contract_is_a_key_error(root: Path) -> None:
    with pytest.raises(KeyError):
        FileContract("pos", root / "contracts/systems/pos/tlog.toml").exchange("nothing")


def test_all_mistakes_come_at_once_with_line_and_suggestion() -> None:
    text = (
        GOOD.replace("digits = 6", "digit = 6").replace('parent = "T"', 'parent = "X"').replace('encoding = "utf-8"', 'encoding = "utf-99"')
        + '[[check]]\nname = "a"\nsays = "b"\nscope = "T"\nexpect = "L.amont"\n'
        + 'equals = [{ sum = "L.amount", count = "L" }]\non_failure = "report"\n'
    )
    found = mistakes(text)
    assert "x.toml:5: unknown encoding 'utf-99'; for example utf-8, cp1252, iso-8859-1" in found
    assert "x.toml:15: unknown key 'digit'; did you mean 'digits'?" in found
    assert any("no record 'X' to hang L under" in f for f in found)
    assert any("no field 'L.amont'; did you mean 'L.amount'?" in f for f in found)
    assert any("a term is one of count, sum or field" in f for f in found)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('format = "delimited"', 'format = "cobol"', "Invalid enum value 'cobol'"),
        ('transaction = "T"', 'transaction = "Q"', "no record 'Q' of role transaction"),
        ("decimals = 2", "decimals = 12", "at most its digits"),
        ('values = { T = "training", C = "cancelled" }', 'values = { TT = "x" }', "one letter each"),
        ("(?P<store>", "(?P<store", "not a regular expression"),
        ('delimiter = ";"', 'delimiter = ";;"', "write one ASCII character"),
        ("[file]", "[fil]", "unknown table 'fil'; did you mean 'file'?"),
        ('parent = "T"', 'parent = "L"', "hangs under itself"),
        ("[file]", "[file", "not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(old: str, new: str, says: str) -> None:
    assert any(says in f for f in mistakes(GOOD.replace(old, new, 1)))


def test_a_layout_that_is_not_there_or_too_large_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(Findings, match="cannot be read"):
        load(tmp_path / "none.toml")
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * 1_000_001)
    with pytest.raises(Findings, match="larger than"):
        load(big)
