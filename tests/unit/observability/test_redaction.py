from __future__ import annotations

import time

import pytest

from observability.redaction import ITEM_LIMIT, MASK, TEXT_LIMIT, redact, redacted


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abc.def-123456",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "key tg_live_0123456789abcdef01",
        "password=hunter2",
        '{"api_key": "hunter2"}',
        "<Password>hunter2</Password>",
        "amqp://user:hunter2@broker:5672/",
        "bob.miller@example.co.uk",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
    ],
)
def test_secrets_and_personal_data_are_masked_in_text(secret: str) -> None:
    out = redact(f"before {secret} after")
    assert MASK in out
    assert out.startswith("before")
    assert out.endswith("after")
    for part in ("hunter2", "abc.def", "0123456789abcdef", "bob.miller", "4111", "3704", "c2lnbmF0dXJl"):
        assert part not in out


@pytest.mark.parametrize(
    "plain",
    ["sku 10000001 at 0017", "erp.GetStock: timed out after 0.8 s", "4bf92f3577b34da6a3ce929d0e0e4736", "W-2026-000123", "1764000000000"],
)
def test_ordinary_text_stays_as_it_is(plain: str) -> None:
    assert redact(plain) == plain


def test_keys_that_name_a_secret_hide_any_value_at_any_depth() -> None:
    line = {"user": "u", "headers": {"Authorization": "x", "X-Api-Key": ["a"]}, "items": [{"customer_name": "Bob", "sku": "1"}]}
    assert redacted(line) == {
        "user": "u",
        "headers": {"Authorization": MASK, "X-Api-Key": MASK},
        "items": [{"customer_name": MASK, "sku": "1"}],
    }


def test_values_are_bounded_in_length_breadth_and_depth() -> None:
    assert len(redact("x" * 10_000_000)) == TEXT_LIMIT
    assert len(redacted(list(range(10_000)))) == ITEM_LIMIT
    deep: object = "end"
    for _ in range(1_000):
        deep = {"a": deep}
    assert "…" in str(redacted(deep))
    assert len(str(redacted(10**5000))) <= TEXT_LIMIT + 2


def test_control_characters_cannot_forge_a_line_or_colour_a_terminal() -> None:
    assert redact("a\x1b[31m\r\u202eb\x00") == "a [31m  b "


def test_half_a_surrogate_pair_does_not_reach_an_encoder() -> None:
    assert redact("TLOG_\udcff.txt") == "TLOG_ .txt"


@pytest.mark.parametrize(
    "secret", ["4111111111111111", "4111-1111-1111-1111", "DE89370400440532013000", "sk_0123456789abcdef", "\x7f", "Basic dXNlcjpwdw=="]
)
def test_the_quick_look_overlooks_nothing_that_a_mask_would_hide(secret: str) -> None:
    assert secret not in redact(secret)


def test_masking_hostile_text_takes_no_longer_than_its_length_warrants() -> None:
    began = time.perf_counter()
    for hostile in ("a" * 800, "a@" * 400, "1 " * 400, "<token " * 100, "://" * 260, "AA11" * 200, "a.-_" * 200, "eyJ." * 200):
        redact(hostile)
    assert time.perf_counter() - began < 0.5
