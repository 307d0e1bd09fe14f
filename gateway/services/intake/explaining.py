"""Why a file is where it is, or is not there: sentences for people in the stores and those who help them, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from contracts.admin import FileView
from gateway.services.intake.feed import Look

Said = tuple[tuple[str, ...], tuple[str, ...]]
"""What is so, and what to do."""


@dataclass(frozen=True)
class Seen:
    """What one feed's inbox holds under a name; None with the reason when it cannot be read."""

    feed: str
    look: Look | None
    problem: str = ""


def of_file(file: FileView, now: datetime) -> Said:
    """A file that the ledger knows."""
    came = f"{file.name} came on {_at(file.first_seen)}" + (f" from store {file.store}" if file.store else "")
    told, advice = [came + f" to the feed {file.feed}."], list[str]()
    match file.status:
        case "checking" | "booking":
            told.append(_running(file, now))
            advice.append("Nothing needs to be done: it is being worked on.")
        case "waiting":
            holder = "the worker that held it gave no sign of life any more" if file.attempts else "somebody had it tried again"
            told.append(f"It waits: {holder}; {_count(file.position, 'transaction')} of it are dealt with, and it goes on behind them.")
            advice.append(
                "The next worker that finds it in the inbox takes it. If that does not happen within a minute, see whether a worker runs"
                " and whether the file still lies in the inbox."
            )
        case "refused":
            told.append(f"It was refused on {_at(file.finished_at or file.first_seen)}: {_sentence(file.reason)}")
            told.append(
                "Nothing of it is booked." if not file.booked else f"{_count(file.booked, 'transaction')} of it were booked before."
            )
            advice.append(
                f"Have the store send a corrected file, or, when the reason is mended here (layout, mapping), try this one again:"
                f" tillgate files retry {file.digest[:12]}"
            )
            advice.append(f"If it will never be needed: tillgate files give-up {file.digest[:12]} --reason …")
        case "given_up":
            who = file.given_up
            told.append(f"It was refused: {_sentence(file.reason)}")
            if who is not None:
                told.append(f"{who.by} gave it up on {_at(who.at)}: {_sentence(who.reason)}")
        case "done" | "partly":
            told.append(_booked(file))
            if file.open:
                told.append(f"{_count(file.open, 'record')} could not be booked and {'wait' if file.open > 1 else 'waits'} for a person.")
                advice.append(f"See why, put it right and book it, or dismiss it: tillgate files quarantine list --file {file.digest[:12]}")
            elif file.quarantined:
                told.append(f"{_count(file.quarantined, 'record')} could not be booked at first; people have decided about all of them.")
            else:
                advice.append("Nothing needs to be done.")
            if file.reason:
                told.append(f"Noticed on the way: {_sentence(file.reason)}")
    if file.repeated and file.repeated == file.position:
        told.append("All of it was booked before, from another file: sending it again changed nothing.")
    if file.seen_as:
        told.append(
            f"The same content came again as {', '.join(file.seen_as[:5])}{' …' if len(file.seen_as) > 5 else ''}; it is known by it."
        )
    if file.removed_at is not None:
        told.append(f"The file itself was kept as long as declared and removed on {_at(file.removed_at)}; what it said is in the books.")
    elif file.kept:
        told.append(f"The file lies at {file.kept}.")
    return tuple(told), tuple(advice)


def of_nothing(name: str, seen: Sequence[Seen]) -> Said:
    """A name that the ledger does not know."""
    told, advice = [f"No file called {name} was ever taken."], list[str]()
    if not seen:
        return (*told, "The estate declares no feed of files."), ("Declare an operation of mode file in estate.toml.",)
    matched = [s for s in seen if s.look is not None and s.look.matches]
    for each in seen:
        if each.look is None:
            told.append(f"The inbox of {each.feed} cannot be read: {_sentence(each.problem)}")
            advice.append("Mend the folder: until then nothing in it is seen.")
    for each in matched:
        look = each.look
        if look is None:
            continue
        if not look.there:
            told.append(f"Its name is right for {each.feed}, and it does not lie in {look.folder}.")
            advice.append(f"Ask the store whether it was sent, and whether to {look.folder}; a transfer under way has another name.")
        elif look.refused:
            told.append(f"In {look.folder} that name is {look.refused}, which is never followed or read.")
            advice.append("Put the file itself there.")
        elif look.wants:
            told.append(f"It lies in {look.folder} and is not taken as complete yet: it takes {look.wants}.")
            advice.append("Wait for it; if it stays so, ask the sender to finish the transfer.")
        else:
            told.append(f"It lies in {look.folder} ({look.size} bytes, unchanged for {_seconds(look.changed)}) and is complete.")
            advice.append(
                "A worker takes it at its next sweep. If none does: see whether one runs (tillgate work or serve), whether the time zones"
                " of the stores are known, and what it logs about this file."
            )
    readable = [s for s in seen if s.look is not None]
    if readable and not matched:
        told += [
            f"Something of that name lies in {s.look.folder}, but the feed {s.feed} takes only names like {s.look.pattern}."
            for s in readable
            if s.look is not None and s.look.there
        ]
        if len(told) == 1:
            patterns = "; ".join(f"{s.feed}: {s.look.pattern}" for s in readable if s.look is not None)
            told.append(f"No feed takes files of that name ({patterns}).")
        advice.append("Ask the sender to name it as the layout declares, or declare that name in the layout ([file] name).")
    return tuple(told), tuple(dict.fromkeys(advice))


def _running(file: FileView, now: datetime) -> str:
    progress = file.progress
    if progress is None:
        return "Somebody reads it."
    left = max((progress.until - now).total_seconds(), 0)
    doing = "checked as a whole before anything is booked" if file.status == "checking" else "read and booked"
    rate = f", {progress.rate:g} transactions a second" if progress.rate else ""
    return (
        f"It is being {doing} by {progress.owner}: {progress.share:.0%} read, {_count(file.position, 'transaction')} committed{rate}."
        f" If that worker dies, another one may take it over in {_seconds(left)}."
    )


def _booked(file: FileView) -> str:
    parts = [f"{_count(file.booked, 'transaction')} of it {'is' if file.booked == 1 else 'are'} booked"]
    if file.repeated:
        parts.append(f"{file.repeated} were booked before with the same content")
    return f"It was read on {_at(file.finished_at or file.first_seen)}: {', '.join(parts)}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _at(when: datetime) -> str:
    return f"{when:%Y-%m-%d at %H:%M} UTC"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
