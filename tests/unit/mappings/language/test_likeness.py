"""Likeness: names in six languages and SAP's abbreviations mean the same; sample values prove; two fields are compared for renames."""

import pytest

from mappings.language.likeness import alike, concepts, evidence, meant, phrases_of
from mappings.language.shape import Field, Leaf, Record


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("MATNR", ("product", "number")),
        ("articleNo", ("product", "number")),
        ("Artikelnummer", ("product", "number")),
        ("numéro_article", ("number", "product")),
        ("productnaam", ("product", "name")),
        ("Lagerbestand", ("stock",)),
        ("qtyOrdered", ("quantity", "committed")),
        ("postCode", ("zip",)),
        ("E_NEXT", ("next",)),
        ("is_in_stock", ("flag", "stock", "on_hand")),
        ("kundennummer", ("customer", "number")),
    ],
)
def test_words_of_several_languages_mean_the_same(name: str, meaning: tuple[str, ...]) -> None:
    assert concepts(name) == meaning


@pytest.mark.parametrize(
    ("values", "proves"),
    [
        (["4006381333931", "4006100000823"], "gtin"),
        (["4006381333932"], ""),
        (["20261120", "20261121", "20250101"], "date"),
        (["2026-11-20T08:00:00"], "time"),
        (["EUR", "USD"], "currency"),
        (["DE", "FR"], "country"),
        (["ada@example.com"], "email"),
        (["AAA"], ""),
        ([], ""),
    ],
)
def test_sample_values_prove_what_they_are_or_nothing(values: list[str], proves: str) -> None:
    assert evidence(values) == proves


def field(name: str, kind: str = "string", **more: object) -> Field:
    return Field(name, Leaf(kind), **more)  # type: ignore[arg-type]  # as the test names it


def test_the_same_field_is_alike_and_a_renamed_one_more_than_any_other() -> None:
    old = field("articleNo")
    others = [field("articleNumber"), field("title"), field("quantity", "decimal"), field("articleGroup")]
    scores = [alike(old, other) for other in others]
    assert alike(old, old) == 1.0
    assert scores[0] == max(scores)
    assert scores[0] > 0.8 > max(scores[1:])


def test_a_translated_name_is_alike_and_another_type_or_place_is_less_so() -> None:
    assert alike(field("Bestand", "decimal"), field("stock", "decimal")) > 0.9
    assert alike(field("stock", "decimal"), field("stock", "boolean")) < 0.6
    assert alike(field("city"), field("city"), ("shipTo",), ("billTo",)) < alike(field("city"), field("city"), ("shipTo",), ("shipTo",))
    assert alike(field("x"), Field("x", Record("X"))) < 0.5
    assert alike(field("x"), field("x", repeated=True)) < 1


def test_a_name_of_any_letters_and_any_length_is_looked_at_and_costs_little() -> None:
    for name in ("", "x" * 100_000, "Ärger_Übung_日本", "--__--", "123", "a\u0300" * 50):
        assert isinstance(concepts(name), tuple)


@pytest.mark.parametrize(("name", "low", "high"), [("store", 0.0, 0.3), ("time_zone", 0.9, 1.0), ("store_time_zone", 0.5, 1.0)])
def test_name_of_a_store_does_not_say_its_time_zone(name: str, low: float, high: float) -> None:
    found = meant(phrases_of("PosSale", "store_time_zone"), concepts(name), [], frozenset())
    assert low <= found <= high
