"""How alike two fields are, and how well a field's name says what a canonical field means: words, concepts, types and sample values."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from contracts.canonical.amounts import CURRENCIES
from contracts.canonical.base import gtin_is_valid
from mappings.language import vocabulary
from mappings.language.shape import Field, Leaf, Record

_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_MOST: Final = 80
"""Characters of a name that are looked at."""


def fold(text: str) -> str:
    """Lower case, without accents."""
    return "".join(
        c for c in unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("ø", "o")) if not unicodedata.combining(c)
    ).lower()


def table(text: str) -> Iterator[tuple[str, str]]:
    """`key : rest` lines; a line that begins with blanks goes on with the one before."""
    key, rest = "", ""
    for line in text.strip().splitlines():
        head, colon, tail = line.partition(":")
        if line[0] != " " and colon:
            if key:
                yield key, rest
            key, rest = head.strip(), tail
        else:
            rest += " " + line
    yield key, rest


@functools.cache
def _words() -> dict[str, tuple[str, ...]]:
    """Word -> concepts."""
    known: dict[str, tuple[str, ...]] = {}
    for code, meaning in table(vocabulary.CODES):
        known[fold(code)] = tuple(w for w in meaning.split() if not w.startswith("padded"))
    for concept, words in table(vocabulary.WORDS):
        for word in (concept.replace("_", ""), *words.split()):
            known.setdefault(fold(word).replace("_", ""), (concept,))
    return known


@functools.cache
def _padded() -> dict[str, int]:
    """Codes whose numeric values carry leading zeros -> width, 0 = that of the field."""
    return {
        fold(code): int(p.removeprefix("padded") or 0)
        for code, text in table(vocabulary.CODES)
        for p in text.split()
        if p.startswith("padded")
    }


@functools.cache
def meanings() -> dict[str, tuple[tuple[tuple[str, ...], float], ...]]:
    """Canonical field -> its phrases of concepts, with their weights."""
    found = {}
    for name, text in table(vocabulary.MEANINGS):
        phrases = []
        for phrase in text.split(","):
            words = phrase.split()
            weight = float(words.pop()) if words[-1][0].isdigit() and "." in words[-1] else 1.0
            phrases.append((tuple(words), weight))
        found[name] = tuple(phrases)
    return found


@functools.cache
def cases() -> dict[str, dict[str, str]]:
    """Canonical field with a closed list -> code (folded, letters and digits only) -> value."""
    found: dict[str, dict[str, str]] = {}
    for name, text in table(vocabulary.CASES):
        codes: dict[str, str] = {}
        for value, words in re.findall(r"(\w+) = ((?:(?!\w+ = )\S+\s*)*)", text):
            for word in (value, *words.split()):
                codes.setdefault(bare(word), value)
        found[name] = codes
    return found


@functools.lru_cache(maxsize=20_000)
def bare(code: str) -> str:
    return re.sub(r"[^a-z0-9]", "", fold(code))


def padded(name: str) -> int | None:
    """Whether the field of this name keeps numbers with leading zeros: the width, 0 for the field's own length; None: it does not."""
    return _padded().get(bare(name))


@functools.lru_cache(maxsize=20_000)
def concepts(name: str) -> tuple[str, ...]:
    """What the words of a name mean, in their order; unknown words stay as they are, silent ones are left out."""
    known = _words()
    if (whole := known.get(bare(name))) is not None:
        return whole
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", name[:_MOST].replace("ß", "ss").replace("ø", "o")) if not unicodedata.combining(c)
    )
    tokens = [fold(t) for t in _CAMEL.findall(plain)]
    found: list[str] = ["flag"] if len(tokens) > 1 and tokens[0] in ("is", "has", "use", "can", "should", "enable") else []
    at = 0
    while at < len(tokens):
        for width in (3, 2, 1):
            word = "".join(tokens[at : at + width])
            if at + width <= len(tokens) and (width == 1 or word in known):
                found.extend(_word(word, width > 1 or len(tokens) == 1))
                at += width
                break
    return tuple(dict.fromkeys(found))


def _word(word: str, certain: bool) -> tuple[str, ...]:
    known = _words()
    for form in (
        word,
        word.removesuffix("s"),
        word.removesuffix("es"),
        word.removesuffix("e"),
        word.removesuffix("n"),
        word.removesuffix("en"),
    ):
        if form in known and (len(form) > 1 or certain):
            return () if word in vocabulary.SILENT and not certain else known[form]
    if word in vocabulary.SILENT or word.isdigit():
        return ()
    return _compound(word) or (word,)


def _compound(word: str) -> tuple[str, ...]:
    """`lagerbestand`, `kundennummer`, `productnaam`: known words one after the other, of at least three letters each."""
    known = _words()
    best: dict[int, tuple[str, ...] | None] = {0: ()}
    for end in range(3, len(word) + 1):
        for start in range(max(0, end - 20), end - 2):
            piece = word[start:end]
            if best.get(start) is None or (best.get(end) is not None):
                continue
            for form in (piece, piece.removesuffix("s"), piece.removesuffix("n"), piece.removesuffix("en")):
                if len(form) >= 3 and form in known and form not in ("der", "den", "des"):
                    best[end] = (*(best[start] or ()), *known[form])
                    break
    return best.get(len(word)) or ()


def weight(concept: str) -> float:
    return 0.4 if concept in vocabulary.LIGHT else 1.0


def meant(phrases: Iterable[tuple[tuple[str, ...], float]], name: Sequence[str], above: Sequence[str], implied: frozenset[str]) -> float:
    """0 to 1: how well a name of these concepts says one of the phrases. `above`: concepts of the records around it, which help; `implied`:
    concepts that go without saying there."""
    best = 0.0
    own, around = set(name), set(above)
    for phrase, prior in phrases:
        whole = sum(map(weight, phrase))
        got = sum(weight(c) if c in own else 0.85 * weight(c) if c in around else 0.7 * weight(c) if c in implied else 0.0 for c in phrase)
        said = sum(weight(c) * (0.3 if c in implied and weight(c) == 1 else 1.0) for c in own if c in phrase)
        if not said:
            continue
        strange = sum(weight(c) * (0.3 if c in implied else 1.0) for c in own if c not in phrase)
        best = max(best, prior * (got / whole) * (0.25 + 0.75 * said / (said + strange)))
    return best


@functools.cache
def phrases_of(noun: str, path: str) -> tuple[tuple[tuple[str, ...], float], ...]:
    """The phrases that name a canonical field, its own Python name among them."""
    name = path.rpartition(".")[2]
    known = meanings()
    listed = known.get(f"{noun}.{name}") or known.get(path) or known.get(name) or ()
    own = concepts(name)
    return (*listed, *(((own, 1.0 if not listed else 0.9),) if own and all(p != own for p, _ in listed) else ()))


def alike(one: Field, other: Field, above: tuple[str, ...] = (), other_above: tuple[str, ...] = ()) -> float:
    """0 to 1: how likely two fields are the same thing by name and type, such as one of a contract and one of its next version.

    `above`: names of the records around each, outermost first.
    """
    names = _overlap(concepts(one.name), concepts(other.name))
    spelled = difflib.SequenceMatcher(None, bare(one.name)[:_MOST], bare(other.name)[:_MOST]).ratio()
    name = 1.0 if one.name == other.name else max(0.95 * names, spelled**1.5)
    place = _overlap(concepts(above[-1]) if above else (), concepts(other_above[-1]) if other_above else ())
    around = 1.0 if above == other_above else 0.88 + 0.12 * place
    return round(name * around * _same_kind(one, other), 4)


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    both = set(one) | set(other)
    return sum(weight(c) for c in both if c in one and c in other) / sum(map(weight, both)) if both else 0.0


_NEAR: Final = {frozenset(p) for p in (("integer", "decimal"), ("date", "datetime"), ("string", "date"), ("string", "datetime"))}


def _same_kind(one: Field, other: Field) -> float:
    if isinstance(one.shape, Record) or isinstance(other.shape, Record):
        if not (isinstance(one.shape, Record) and isinstance(other.shape, Record)):
            return 0.45
        mine, theirs = ({f.name for f in r.fields} for r in (one.shape, other.shape))
        return 0.6 + 0.4 * (len(mine & theirs) / len(mine | theirs) if mine | theirs else 1)
    kinds = {one.shape.kind, other.shape.kind}
    kind = 1.0 if len(kinds) == 1 else 0.9 if "any" in kinds or frozenset(kinds) in _NEAR else 0.75 if "string" in kinds else 0.55
    if one.shape.enum and other.shape.enum:
        mine, theirs = set(one.shape.enum), set(other.shape.enum)
        kind *= 0.6 + 0.4 * len(mine & theirs) / len(mine | theirs)
    return kind * (1.0 if one.repeated == other.repeated else 0.8)


# ---- sample values ------------------------------------------------------------------------------------------------

DATES: Final = {
    "YYYYMMDD": "%Y%m%d",
    "YYYY-MM-DD": "%Y-%m-%d",
    "DD.MM.YYYY": "%d.%m.%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "DD-MM-YYYY": "%d-%m-%Y",
}
TIMES: Final = {
    "YYYY-MM-DD hh:mm:ss": "%Y-%m-%d %H:%M:%S",
    "YYYY-MM-DDThh:mm:ss": "%Y-%m-%dT%H:%M:%S",
    "YYYYMMDDhhmmss": "%Y%m%d%H%M%S",
    "DD.MM.YYYY hh:mm:ss": "%d.%m.%Y %H:%M:%S",
}
_COUNTRIES: Final = frozenset(
    [
        "AT",
        "AU",
        "BE",
        "BG",
        "BR",
        "CA",
        "CH",
        "CN",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GB",
        "GR",
        "HR",
        "HU",
        "IE",
        "IN",
        "IS",
        "IT",
        "JP",
        "LT",
        "LU",
        "LV",
        "MX",
        "NL",
        "NO",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
        "TR",
        "US",
    ]
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")


def dated(values: Sequence[str], formats: dict[str, str]) -> str:
    """The first format that all values are written in and that makes days of this age, or nothing. Two-digit guesses are not made."""
    for ours, theirs in formats.items():
        try:
            if values and all(1980 <= datetime.strptime(v, theirs).year <= 2100 for v in values):  # noqa: DTZ007 - only looked at
                return ours
        except ValueError:
            continue
    return ""


def evidence(values: Sequence[str]) -> str:
    """The concept that sample values prove: gtin, currency, country, email, date or time; empty when they prove none."""
    real = [v.strip() for v in values if v and v.strip()][:50]
    if not real:
        return ""
    if all(len(v) in (8, 12, 13, 14) and gtin_is_valid(v) for v in real) and (len(real) > 2 or len(real[0]) > 8):
        return "" if dated(real, DATES) or dated(real, TIMES) else "gtin"
    for concept, proves in (("currency", CURRENCIES.__contains__), ("country", _COUNTRIES.__contains__), ("email", _EMAIL.fullmatch)):
        if all(proves(v) for v in real):
            return concept
    return "date" if dated(real, DATES) else "time" if dated(real, TIMES) else ""


def kind_of(field: Field) -> str:
    return field.shape.kind if isinstance(field.shape, Leaf) else "record"
