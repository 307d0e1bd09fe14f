"""What is watched of one estate, and what a new one changes, as the root-cause engine is told it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from gateway.bootstrap.checking import Checked
from gateway.bootstrap.dependency import dependency_map
from gateway.bootstrap.systems import Wiring
from gateway.edge.brown_out import Weekly, Window
from gateway.estate import Estate, brown_outs
from gateway.services.evidence import Estate as Watching
from gateway.services.evidence import Watched
from gateway.services.incidents import Engine
from observability.rootcause.model import Change

MOST: Final = 50
"""Changes of one reload that are told apart."""


def engine() -> Engine:
    """Its arithmetic is loaded with it, in the thread that asks."""
    from observability.rootcause.online.engine import Engine as Online

    return Online()


def watching(checked: Checked, wiring: Wiring) -> Watching:
    return Watching(
        map=dependency_map(checked.estate),
        operations=tuple(Watched(o.system, o.name, o.freshness.frozen, o.drift.read) for o in wiring.switchboard.operations),
        planned=partial(planned, checked.estate),
        published="rabbitmq" if checked.estate.events.rabbitmq else "",
    )


def planned(estate: Estate, since: datetime, until: datetime) -> Sequence[Change]:
    """Brown-outs and nightly batches that touch this span."""
    found: list[Change] = []
    for one in brown_outs(estate):
        for window in takewhile(lambda w: w.start <= until, one.windows(since)):
            what = f"brown-out of version {one.version}"
            found.append(_maintenance(what, window, {"api_version": one.version}))
    zone = ZoneInfo(estate.estate.time_zone)
    for name, system in estate.system.items():
        what = f"nightly batch of {name}, {system.batch_window}"
        found += [_maintenance(what, window, {"system": name}) for window in _nightly(system.batch_window, zone, since, until)]
    return found


def _maintenance(what: str, window: Window, scope: dict[str, str]) -> Change:
    return Change(at=window.start, until=window.end, what=what, kind="maintenance", scope=scope)


def _nightly(hours: str, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[Window]:
    """The text is for people; what is no pair of times says nothing here."""
    try:
        daily = Weekly.parse(f"day {hours}")
    except ValueError:
        return
    day = (since - timedelta(days=2)).astimezone(zone).date()
    while day <= until.astimezone(zone).date():
        start = datetime.combine(day, daily.begin, zone).astimezone(UTC)
        last = day + timedelta(days=1) if daily.end <= daily.begin else day
        end = datetime.combine(last, daily.end, zone).astimezone(UTC)
        if start <= until and end > since:
            yield Window(start, end)
        day += timedelta(days=1)


def differences(old: Checked, new: Checked) -> list[tuple[str, dict[str, str]]]:
    """What a reload changes, as sentences with the kind and scope of each."""
    return [*_differences(old, new)][:MOST]


def _differences(old: Checked, new: Checked) -> Iterator[tuple[str, dict[str, str]]]:
    before, after = old.estate, new.estate
    for name in sorted({*before.operation, *after.operation}):
        system, _, operation = name.partition(".")
        scope = {"system": system, "operation": operation}
        was, now = before.operation.get(name), after.operation.get(name)
        if was is None or now is None:
            yield f"operation {name} {'added' if was is None else 'removed'}", {**scope, "kind": "adapter"}
            continue
        mappings = [p for p in (*now.requests, now.answer) if p and old.digests.get(p) != new.digests.get(p)]
        if mappings:
            version = new.mappings[mappings[0]].version if mappings[0] in new.mappings else ""
            yield f"mapping {', '.join(mappings)} {version}".strip(), {**scope, "kind": "mapping"}
        if (keys := _keys(was, now)) and not {*keys} <= {"request", "answer", "steps"}:
            yield f"operation {name}: {', '.join(keys)}", {**scope, "kind": "adapter"}
    for name in sorted({*before.system, *after.system}):
        was_, now_ = before.system.get(name), after.system.get(name)
        if was_ is None or now_ is None:
            yield f"system {name} {'added' if was_ is None else 'removed'}", {"system": name, "kind": "adapter"}
        elif keys := _keys(was_, now_):
            yield f"system {name}: {', '.join(keys)}", {"system": name, "kind": "adapter"}
        elif old.digests.get(now_.contract) != new.digests.get(now_.contract):
            yield f"contract of system {name}", {"system": name, "kind": "adapter"}
    for name in sorted({*before.channel, *after.channel}):
        if before.channel.get(name) != after.channel.get(name):
            yield f"channel {name}", {"channel": name, "kind": "estate"}
    other = [key for key in _keys(before, after) if key not in ("operation", "system", "channel")]
    if other:
        yield f"estate: {', '.join(other)}", {"kind": "api_version" if other == ["versions"] else "estate"}


def _keys(old: msgspec.Struct, new: msgspec.Struct) -> list[str]:
    return [key for key in old.__struct_fields__ if getattr(old, key) != getattr(new, key)]
