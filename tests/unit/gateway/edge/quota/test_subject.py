"""Which store a request is about."""

from __future__ import annotations

from types import SimpleNamespace as Asked

import pytest

from gateway.edge.identity.principal import Principal
from gateway.edge.quota import about


def principal(*stores: str) -> Principal:
    return Principal("app", "store", frozenset(), frozenset(stores), "2026-09", "standard", "key")


@pytest.mark.parametrize(
    ("stores", "query", "body", "store"),
    [
        (("17",), Asked(location=("18",)), None, "17"),
        ((), Asked(location=("0018",)), None, "0018"),
        ((), Asked(location="0018"), None, "0018"),
        ((), Asked(location=("18", "19")), None, ""),
        ((), Asked(location=()), Asked(location_id="18"), ""),
        ((), Asked(), Asked(location_id="18"), "18"),
        ((), Asked(), Asked(requested_location_id="19"), "19"),
        ((), Asked(), Asked(location_id=None), ""),
        ((), Asked(location=("x" * 21,)), None, ""),
        ((), None, None, ""),
    ],
)
def test_the_clients_own_store_else_the_only_one_that_is_named(stores: tuple[str, ...], query: object, body: object, store: str) -> None:
    assert about(principal(*stores), query, body) == store
