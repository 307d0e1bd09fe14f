"""Changes of several versions over one another: containers that were renamed, enumerations, added members, pointers, events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest

from contracts.canonical.amounts import Money
from contracts.canonical.answers import Inventory, Orders
from contracts.canonical.base import Noun
from contracts.canonical.order import OrderDraft
from contracts.events import DATA, Event
from contracts.problem import Problem
from contracts.versions import HISTORY, Change, Misshapen, Version, VersionHistory

NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)


class Weight(Noun, frozen=True, kw_only=True):
    grams: int


class Parcel(Noun, frozen=True, kw_only=True):
    name: str
    weight: Weight
    state: Literal["packed", "sent", "lost"] = "packed"
    note: str | None = None


class Shipment(Noun, frozen=True, kw_only=True):
    parcels: tuple[Parcel, ...]
    by_name: dict[str, Parcel] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()


class ShipmentOfBoxes(Noun, frozen=True, kw_only=True):
    boxes: tuple[Parcel, ...]
    by_name: dict[str, Parcel] = msgspec.field(default_factory=dict)


class KiloWeight(Noun, frozen=True, kw_only=True):
    kilos: str


class ParcelWithTitle(Noun, frozen=True, kw_only=True):
    title: str
    weight: Weight
    state: Literal["ready", "sent"] = "ready"


class Parcels(Change):
    """Boxes are called parcels."""

    of = Shipment
    old = ShipmentOfBoxes
    renamed = {"parcels": "boxes"}  # noqa: RUF012  # read only


class Names(Change):
    """Titles are called names, ready is called packed, and parcels can be lost."""

    of = Parcel
    old = ParcelWithTitle
    renamed = {"name": "title"}  # noqa: RUF012  # read only
    values = {"state": {"packed": "ready", "lost": "sent"}}  # noqa: RUF012  # read only
    example = Parcel(name="a", weight=Weight(grams=5), state="packed")


class Grams(Change):
    """Weights are in grams."""

    of = Weight
    old = KiloWeight
    renamed = {"grams": "kilos"}  # noqa: RUF012  # read only

    @classmethod
    def down(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {"kilos": f"{value['grams'] / 1000:.3f}"}

    @classmethod
    def up(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"grams": round(float(value["kilos"]) * 1000)}
        except ValueError:
            raise Misshapen("a number of kilos", value["kilos"], "kilos") from None


A, B, C, D = "2026-04-01", "2026-03-01", "2026-02-01", "2026-01-01"
BOXES = VersionHistory((Version(A, "", (Parcels,)), Version(B, "", (Names,)), Version(C, "", (Grams,)), Version(D, "")))
NEW = Shipment(
    parcels=(Parcel(name="a", weight=Weight(grams=1500), state="lost", note="n"),),
    by_name={"b": Parcel(name="b", weight=Weight(grams=20), state="sent")},
    labels=("x",),
)
PLAIN = msgspec.to_builtins(NEW)


def test_a_change_reaches_what_a_newer_change_has_moved() -> None:
    assert BOXES.down(PLAIN, Shipment, D) == {
        "boxes": [{"title": "a", "weight": {"kilos": "1.500"}, "state": "sent"}],
        "byName": {"b": {"title": "b", "weight": {"kilos": "0.020"}, "state": "sent"}},
    }


def test_what_an_old_version_sent_comes_up_through_every_change() -> None:
    up = BOXES.up({"boxes": [{"title": "a", "weight": {"kilos": "1.5"}, "state": "ready"}]}, Shipment, D)
    assert msgspec.convert(up, Shipment) == Shipment(parcels=(Parcel(name="a", weight=Weight(grams=1500)),))


@pytest.mark.parametrize(("version", "state"), [(A, "lost"), (B, "lost"), (C, "sent"), (D, "sent")])
def test_a_value_that_an_old_version_does_not_know_is_told_as_another(version: str, state: str) -> None:
    old = BOXES.down(PLAIN, Shipment, version)
    assert old["parcels" if version == A else "boxes"][0]["state"] == state


@pytest.mark.parametrize(("version", "fits"), [(A, True), (B, False), (C, False)])
def test_members_that_came_later_are_dropped_from_answers_as_published(version: str, fits: bool) -> None:
    old = BOXES.down(PLAIN, Shipment, version)
    assert ("labels" in old) is fits
    assert ("note" in old.get("parcels", old.get("boxes"))[0]) is (version in (A, B))


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"boxes": [], "labels": []}, ["labels"]),
        ({"parcels": []}, ["parcels"]),
        ({"boxes": [{"title": "a", "note": "n"}]}, ["boxes", 0, "note"]),
        ({"boxes": [{"title": "a", "weight": {"kilos": "heavy"}}]}, ["boxes", 0, "weight", "kilos"]),
        ({"boxes": [], "byName": {"x": {"weight": {"grams": 1}}}}, ["byName", "x", "weight", "grams"]),
    ],
)
def test_what_the_version_does_not_know_is_refused_at_the_place_where_it_was_sent(sent: Any, place: list[str | int]) -> None:
    with pytest.raises(Misshapen) as caught:
        BOXES.up(sent, Shipment, D)
    assert caught.value.path == place


@pytest.mark.parametrize(
    ("pointer", "version", "sent"),
    [
        ("/parcels/0/weight/grams", A, "/parcels/0/weight/grams"),
        ("/parcels/0/weight/grams", B, "/boxes/0/weight/grams"),
        ("/parcels/0/name", C, "/boxes/0/title"),
        ("/parcels/0/weight/grams", D, "/boxes/0/weight/kilos"),
        ("/parcels/0/note", C, "/boxes/0"),
        ("/byName/a~1b/weight/grams", D, "/byName/a~1b/weight/kilos"),
        ("/labels/3", B, ""),
        ("/parcels/0/nothing/7", D, "/boxes/0"),
        ("/nothing", A, "/nothing"),
        ("", D, ""),
    ],
)
def test_a_pointer_names_what_the_sender_of_a_version_sent(pointer: str, version: str, sent: str) -> None:
    assert BOXES.as_sent(pointer, Shipment, version) == sent


def test_pointers_into_an_order_name_old_amounts() -> None:
    assert HISTORY.as_sent("/lines/0/unitPrice/centAmount", OrderDraft, MIDDLE) == "/lines/0/unitPrice/amount"
    assert HISTORY.as_sent("/lines/0/unitPrice/fractionDigits", OrderDraft, MIDDLE) == "/lines/0/unitPrice"
    assert HISTORY.as_sent("/lines/0/unitPrice/centAmount", OrderDraft, NEWEST) == "/lines/0/unitPrice/centAmount"


def test_what_a_newer_version_has_otherwise_is_known_by_its_old_name() -> None:
    assert [(t.change.__name__, t.place) for t in BOXES.touched(Shipment, D)] == [
        ("Parcels", "/boxes"),
        ("Names", "/boxes/*/title"),
        ("Names", "/boxes/*/state"),
        ("Names", "/byName/*/title"),
        ("Names", "/byName/*/state"),
        ("Grams", "/boxes/*/weight"),
        ("Grams", "/byName/*/weight"),
    ]
    assert [t.place for t in HISTORY.touched(Inventory, OLDEST)] == ["/items/*/storeId"]
    assert [t.place for t in HISTORY.touched(OrderDraft, OLDEST)] == ["/lines/*/unitPrice", "/payments/*/amountPlanned"]
    assert HISTORY.touched(Inventory, MIDDLE) == ()


@pytest.mark.parametrize(
    ("kind", "version", "value", "used"),
    [
        (OrderDraft, OLDEST, {"lines": [{"sku": "1"}, {"unitPrice": {}}]}, ["/lines/*/unitPrice"]),
        (OrderDraft, OLDEST, {"lines": [{"sku": "1"}]}, []),
        (OrderDraft, NEWEST, {"lines": [{"unitPrice": {}}]}, []),
        (OrderDraft, OLDEST, {"lines": 7, "payments": None}, []),
        (OrderDraft, OLDEST, [], []),
        (Shipment, D, {"boxes": [], "byName": {"a": {"title": ""}, "b": {"weight": 1}}}, ["/boxes", "/byName/*/title", "/byName/*/weight"]),
    ],
)
def test_what_a_request_uses_of_that_is_seen(kind: Any, version: str, value: Any, used: list[str]) -> None:
    assert sorted((BOXES if kind is Shipment else HISTORY).used(value, kind, version)) == used


def test_parameters_that_are_called_otherwise_are_known_by_their_old_name() -> None:
    assert [(t.change.__name__, t.place) for t in HISTORY.touched_parameters(("sku", "location"), Inventory, OLDEST)] == [
        ("StockLivesAtLocations", "store")
    ]
    assert HISTORY.touched_parameters(("sku", "location"), Orders, OLDEST) == ()


# ---- events -------------------------------------------------------------------------------------------------------


def event(kind: str, data: dict[str, Any]) -> Event:
    return Event(id="1", source="/t", type=kind, time=datetime(2026, 3, 2, tzinfo=UTC), subject="s", data=data)


def test_an_event_is_told_in_the_version_of_its_reader_and_names_its_contract() -> None:
    price = msgspec.to_builtins(Money(379, "EUR", 2))
    told = HISTORY.down_event(event("io.tillgate.order.accepted.v1", {"totalPrice": price, "lines": [{"unitPrice": price}]}), MIDDLE)
    assert told.data == {
        "totalPrice": {"amount": "3.79", "currency": "EUR"},
        "lines": [{"unitPrice": {"amount": "3.79", "currency": "EUR"}}],
    }
    assert told.dataschema == f"tag:tillgate.io,{MIDDLE}:Order"
    assert (told.id, told.type) == ("1", "io.tillgate.order.accepted.v1")


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_event_has_a_contract_in_every_version(kind: str) -> None:
    assert {HISTORY.down_event(event(kind, {}), v.date).dataschema for v in HISTORY.versions} == {
        f"tag:tillgate.io,{v.date}:{DATA[kind].__name__}" for v in HISTORY.versions
    }


def test_an_event_of_a_newer_release_passes_as_it_is() -> None:
    unknown = event("io.tillgate.tomorrow.v1", {"a": 1})
    assert HISTORY.down_event(unknown, OLDEST) is unknown


# ---- rules --------------------------------------------------------------------------------------------------------


class Narrow(Noun, frozen=True, kw_only=True):
    name: str
    weight: Weight
    state: Literal["packed", "sent", "gone"] = "packed"


class Unmapped(Change):
    """A value more."""

    of = Parcel
    old = Narrow


class WithoutWayBack(Unmapped):
    """A value more, one less."""

    values = {"state": {"lost": "sent"}}  # noqa: RUF012  # read only


class Misnamed(Names):
    """Renames what is not there."""

    renamed = {"nome": "title"}  # noqa: RUF012  # read only


class MisnamedOld(Names):
    """Renames to what is not there."""

    renamed = {"name": "tilte"}  # noqa: RUF012  # read only


class OfNothing(Names):
    """Maps what is not there."""

    values = {"state": {"packed": "ready", "lost": "sent"}, "stat": {}}  # noqa: RUF012  # read only


class NotBack(Names):
    """Loses what it turns into the old shape."""

    example = Parcel(name="a", weight=Weight(grams=5), state="lost")


class NotOld(Names):
    """Makes no old shape."""

    renamed = {}  # noqa: RUF012  # read only


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Unmapped, "does not know the value 'lost' of 'state'"),
        (WithoutWayBack, "does not know the old value 'gone' of 'state'"),
        (Misnamed, "renames 'nome', which Parcel has not"),
        (MisnamedOld, "to 'tilte', which ParcelWithTitle has not"),
        (OfNothing, "maps values of 'stat', which Parcel has not"),
        (NotBack, "its example does not come up again"),
        (NotOld, "its example is no ParcelWithTitle before"),
    ],
)
def test_a_change_that_does_not_fit_its_types_does_not_start(change: type[Change], says: str) -> None:
    history = VersionHistory((Version(B, "", (change,)), Version(A.replace("2026", "2025"), "")))
    with pytest.raises(ValueError, match=says):
        history.check([Shipment])


def test_the_history_in_use_fits_its_types() -> None:
    HISTORY.check([Orders, Inventory, OrderDraft, Problem])
    BOXES.check([Shipment])


def test_every_published_change_shows_an_example_before_and_after() -> None:
    shown = [c.shown() for v in HISTORY.versions for c in v.changes]
    assert all(shown)
    assert shown[0] == ({"amount": "12.99", "currency": "EUR"}, {"centAmount": 1299, "currencyCode": "EUR", "fractionDigits": 2})
