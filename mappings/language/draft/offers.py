"""Which operation of a contract provides a capability: by the words of its name, what it answers and what it can be asked with."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.errors import TillgateError
from contracts.ports import CAPABILITIES
from mappings.language import vocabulary
from mappings.language.draft.answers import Reader
from mappings.language.draft.requests import Writer
from mappings.language.likeness import concepts, meant, table
from mappings.language.shape import Exchange

LISTED: Final = 12
"""Operations whose shapes are looked at, per capability."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One operation of a contract. `words`: what its documentation says; `verb` and `path`: what HTTP says."""

    name: str
    exchange: Callable[[], Exchange]
    words: str = ""
    verb: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    name: str
    score: float
    why: str
    about: str = ""
    """What it is about, in concepts."""


@functools.cache
def _verb_of() -> dict[str, str]:
    return {w: verb for verb, words in table(vocabulary.VERBS) for w in words.split()}


def _verbs(name: str) -> list[str]:
    """What the words of a name say is done, first word first."""
    known = _verb_of()
    tokens = [t.lower() for t in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return [known[t] for t in tokens if t in known]


@functools.cache
def _tasks() -> dict[str, tuple[tuple[str, ...], tuple[tuple[tuple[str, ...], float], ...]]]:
    found = {}
    for capability, text in table(vocabulary.TASKS):
        verbs, _, about = text.partition(":")
        phrases = []
        for phrase in about.split(","):
            words = phrase.split()
            prior = float(words.pop()) if words[-1][0].isdigit() else 1.0
            phrases.append((tuple(words), prior))
        found[capability] = tuple(verbs.split()), tuple(phrases)
    return found


_MANY: Final = re.compile(r"(?i)(array|multi|bulk|batch|list)$")
"""Names of calls that do several at once."""
_TOKEN: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LINKS: Final = frozenset(("from", "by", "with", "for", "to", "of", "on", "in", "all", "current"))


@functools.cache
def _verb_words() -> frozenset[str]:
    words = frozenset(w for _, said in table(vocabulary.VERBS) for w in said.split())
    return words - {"stock", "order", "line", "status", "reference", "invoice", "comment"}


def _does(offer: Offer) -> tuple[str, list[str]]:
    """What an operation does, and every verb in its name."""
    said = _verbs(offer.name)
    if offer.path:
        parts = [p for p in offer.path.split("/") if p]
        last = _verbs(parts[-1])[-1:] if parts and "{" not in parts[-1] else []
        if last and last[0] not in ("read", "find"):
            return last[0], last
        if offer.verb == "read":
            return ("read" if parts and "{" in parts[-1] else "find"), []
        return ("change" if offer.verb == "create" and parts and "{" in parts[-1] else offer.verb), []
    if not said:
        return (_verbs(offer.words) or [""])[0], []
    return ("find" if said[0] == "read" and "find" in said else said[0]), said


def _names(offer: Offer) -> tuple[list[str], list[str]]:
    """The concepts that an operation is about, and those around them."""
    if offer.path:
        fixed = [p for p in offer.path.split("/") if p and "{" not in p]
        while len(fixed) > 1 and all(t.lower() in _verb_words() for t in _TOKEN.findall(fixed[-1])):
            fixed.pop()
        own = list(concepts(fixed[-1])) if fixed else []
        return own, [c for p in fixed[:-1] for c in concepts(p)]
    left = [t for t in _TOKEN.findall(offer.name) if t.lower() not in _verb_words() and t.lower() not in _LINKS]
    return list(concepts("".join(t.capitalize() for t in left) or offer.name)), []


def _about(capability: str, offer: Offer) -> tuple[float, str]:
    """0 to 1 by name alone, and why."""
    verbs, phrases = _tasks()[capability]
    own, around = _names(offer)
    score = meant(phrases, own, around, frozenset())
    strange = len([c for c in around if not any(c in p for p, _ in phrases)])
    done, said = _does(offer)
    fits = 1.0 if done == verbs[0] else 0.8 if done in verbs else 0.7 if not done else 0.1
    more = len([v for v in said[1:] if v not in (*verbs, "read", "find", done)])
    return score * fits * 0.75**more * 0.8**strange, f"{' '.join(own) or offer.name} by name" + (f", {done}" if done else "")


def rank(capability: str, system: str, offers: Sequence[Offer]) -> list[Ranked]:
    """The operations that may provide a capability, best first: by their names, what they answer and what they can be asked with."""
    by_name = sorted(((*_about(capability, offer), offer) for offer in offers), key=lambda x: (-x[0], len(x[2].name)))[:LISTED]
    verb = CAPABILITIES[capability]
    found: list[Ranked] = []
    for score, why, offer in by_name:
        if score < 0.15:
            continue
        try:
            exchange = offer.exchange()
        except TillgateError as error:
            found.append(Ranked(offer.name, round(score * 0.1, 3), f"{why}; cannot be described: {str(error)[:80]}"))
            continue
        answer = Reader(verb.answer, f"{system}.{offer.name}", exchange.answer).worth() if exchange.answer else 0.0
        asked = Writer(verb.request, f"{system}.{offer.name}", exchange.request).worth() if exchange.request else 0.0
        total = score**0.7 * (0.3 + 0.45 * answer + 0.25 * asked)
        if verb.keys is None and _MANY.search(offer.name):
            total *= 0.95
        if answer < 0.15 and not verb.writes:
            total *= 0.8  # an answer that does not even say what it is about cannot be read
        found.append(
            Ranked(offer.name, round(total, 3), f"{why}; {answer:.0%} of the answer, {asked:.0%} of the request", why.partition(" by ")[0])
        )
    return sorted(found, key=lambda r: (-r.score, len(r.name)))
