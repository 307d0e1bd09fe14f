"""Whose fault a bad request is: every request's blame, shared among the parts it met, adds up to one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from observability.rootcause import statistics
from observability.rootcause.spans import FAILED, NO_STATUS, Flags, Floats, Ints
from observability.rootcause.structure import Structure

OWN, WAY, PEER, AROUND = range(4)
"""Kinds of parts. OWN: work of an operation. WAY: between two services. PEER: a service that left no spans of its own. AROUND: a
pause of a caller whose calls are not told apart from its work."""
Mode = Literal["requests", "time"]
_LATE_SHARE: Final = 0.99
_CLIP: Final = 0.995
_KNOWN: Final = 20
"""Spans of an operation that show what is usual."""
_DEEP: Final = 12
_SURE: Final = 0.001
_DOUBTFUL: Final = 0.01
_MOST_SETS: Final = 200
_RARELY: Final = 0.02
_CLEARLY: Final = 3.0
"""So much likelier (logarithm) is no chance."""
_TAILS: Final = 10.0
"""By so much surer the longest of all must be."""


@dataclass(slots=True)
class Parts:
    """What blame falls on. Per part: kind, the service it belongs to, the caller (WAY, AROUND; else -1), the service called
    before that pause (AROUND; else -1), the node (OWN; of the caller: PEER, AROUND; else -1).

    Entries are pieces of time (span, part, microseconds): each span's own, and the caller's time beside a call where no call span holds it.
    """

    of_span: Ints
    span: Ints
    part: Ints
    time: Floats
    in_vain: Flags
    """Per span: it called a service that has fallen silent, or no longer does because that was found sick."""
    seen: Floats
    """Per operation, its spans in the incident."""
    lasted: Floats
    """Per operation, the durations in the baseline by buckets."""
    repeated: tuple[Ints, Ints]
    """Calls that were made again although that is rare, and what they were repeated by."""
    kind: Ints
    service: Ints
    caller: Ints
    previous: Ints
    node: Ints

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(slots=True)
class Blame:
    """Rows (trace, part, amount), and per part how many requests met it. `bad` marks traces; `excess` is what there is to explain.

    In mode `requests` amounts of one bad trace add up to 1; in mode `time` they are milliseconds above normal, of all traces.
    """

    mode: Mode
    trace: Ints
    part: Ints
    amount: Floats
    bad: Flags
    late: Flags
    failed: Flags
    met: Floats
    met_before: Floats
    p: float
    """Of the rise of bad requests."""
    slower: Floats
    """Per part, P that its time did not change: of the requests above its 90th percentile, or its 99th."""
    changed: Floats
    """Per part, the share of its time above normal that the baseline does not have."""
    high: Floats
    """Per part, milliseconds above normal that one in ten requests has."""
    more: Floats
    """Per part, by how many milliseconds a request it meets takes longer than one of the baseline."""


def parts(s: Structure, incident: Flags, baseline: Flags) -> Parts:
    """`incident` and `baseline` mark traces: from the latter it is known whom an operation calls."""
    spans, services = s.spans, len(s.spans.services)
    nodes, now, before = len(s.nodes), incident[s.trace], baseline[s.trace]
    lasted = _histogram(s.node[before], s.duration[before], None, nodes)
    usual = _usual_callee(s, nodes, before)
    missed, gone = _missed(s, nodes, now, before)
    remote = s.callee >= 0
    way = s.call & remote
    silent = s.call & ~remote
    absent = np.where(spans.peer >= 0, spans.peer, usual[s.node])
    refused = _refused(s, now, before, np.where(remote, s.callee, absent), gone, lasted)
    missed = np.where(missed >= 0, missed, refused)
    if s.vain.any():
        missed = np.where(missed >= 0, missed, _again(s, now, before))
        _unknown(s, now, before, missed)
    absent = np.where(missed >= 0, missed, np.where(silent, absent, -1))
    enters = s.door == np.arange(len(spans))
    seen = np.zeros(services, bool)
    seen[spans.service[enters & ~s.call]] = True
    hidden = way & ~seen[s.callee] & (missed < 0)  # it leaves nothing but its own calls: the rest of a call to it is its work
    absent = np.where(hidden, s.callee, absent)
    peer = (silent | hidden | (missed >= 0)) & (absent >= 0) & (absent != spans.service)
    callers = np.zeros(services + 1, bool)
    callers[spans.service[way]] = True
    pauses = s.pauses(~s.call & ~callers[spans.service] & ~peer)
    ends = (np.where(x >= 0, spans.service[x], services) for x in (pauses.before, pauses.after))
    before_, after = (np.where(end == spans.service[pauses.caller], services, end) for end in ends)
    rows = np.flatnonzero((before_ < services) | (after < services))
    base = services + 1
    places, around = statistics.compact((s.node[pauses.caller[rows]] * base + before_[rows]) * base + after[rows])
    first_way, first_peer, first_around = nodes, nodes + services * services, nodes + services * services + nodes * services
    code = s.node.astype(np.int64)
    code = np.where(way, first_way + spans.service * services + s.callee, code)
    code = np.where(peer, first_peer + s.node * services + absent, code)
    found, index = statistics.compact(np.concatenate((code, first_around + around)))
    kind = (found >= first_way).astype(np.int64) + (found >= first_peer) + (found >= first_around)
    offset = found - np.array([0, first_way, first_peer, first_around])[kind]
    of_node = np.array([service for service, _ in s.nodes] or [0])
    place = np.where(kind == AROUND, np.append(places, 0)[np.where(kind == AROUND, offset, -1)], -1)
    node = np.where(
        kind == OWN, found, np.where(kind == PEER, offset // max(services, 1), np.where(kind == AROUND, place // (base * base), -1))
    )
    caller = np.where(kind == WAY, offset // max(services, 1), np.where(kind == AROUND, of_node[node], -1))
    previous = np.where(kind == AROUND, place // base % base, -1)
    following = np.where(kind == AROUND, place % base, -1)
    service = np.where(kind == OWN, of_node[np.minimum(found, nodes - 1)], offset % max(services, 1))
    service = np.where(kind == AROUND, np.where(following < services, following, previous), service)
    previous = np.where((previous < services) & (previous != service), previous, -1)
    own = np.where(peer & ~hidden, s.duration, s.exclusive - statistics.totals(pauses.caller[rows], pauses.time[rows], len(spans)))
    first, again, gap = _repeated(s, np.where(way, s.callee, np.where(peer, absent, -1)), now, before)
    own[again] += gap
    own -= statistics.totals(s.parent[again], gap, len(spans))
    return Parts(
        index[: len(spans)], np.concatenate((np.arange(len(spans)), pauses.caller[rows])), index,
        np.concatenate((np.maximum(own, 0.0), pauses.time[rows])), missed >= 0, statistics.totals(s.node[now], None, nodes), lasted,
        (first, again), kind, service, caller, previous, node,
    )  # fmt: skip


def _repeated(s: Structure, target: Ints, now: Flags, before: Flags) -> tuple[Ints, Ints, Floats]:
    """Calls that were made again where that is rare, what they were repeated by, and microseconds between: the doing of who had to be
    called again. `target`: per calling span, whom it calls.
    """
    spans, services = s.spans, max(len(s.spans.services), 1)
    row = np.flatnonzero((target >= 0) & (s.parent >= 0))
    kinds, kind = statistics.compact(s.node[s.parent[row]] * services + target[row])
    (c1, n1), (c0, n0) = (
        (statistics.totals(kind[w[row]], None, len(kinds)), statistics.totals(s.node[w], None, len(s.nodes))[kinds // services])
        for w in (now, before)
    )
    usual = c0 / np.maximum(n0, 1)
    some = ((c1 >= 1.01 * usual * n1) & (c1 >= usual * n1 + 3))[kind]  # who calls no more often than usual repeats no call
    row, kind = row[some], kind[some]
    key = s.parent[row] * services + target[row]
    order = np.lexsort((spans.start[row], key))
    row, key, kind = row[order], key[order], kind[order]
    next_ = np.flatnonzero(key[1:] == key[:-1]) + 1
    often = statistics.totals(kind[next_[before[row[next_]]]], None, len(kinds))
    next_ = next_[(often <= 0.1 * c0)[kind[next_]]]
    ended = spans.start[row[next_ - 1]] + spans.duration[row[next_ - 1]]
    return row[next_ - 1], row[next_], np.maximum(spans.start[row[next_]] - ended, 0) / 1_000


def _usual_callee(s: Structure, nodes: int, before: Flags) -> Ints:
    """Per node the service that its calls mostly reach, -1 when they reach none."""
    usual = np.full(nodes, -1, np.int64)
    calling = np.flatnonzero(s.call & (s.callee >= 0) & before)
    if len(calling):
        services = len(s.spans.services)
        pairs, times = np.unique(s.node[calling] * services + s.callee[calling], return_counts=True)
        order = np.argsort(times, kind="stable")
        usual[pairs[order] // services] = pairs[order] % services
        share = statistics.totals(s.node[calling], None, nodes) / np.maximum(statistics.totals(s.node[before], None, nodes), 1)
        usual[share < 0.3] = -1
    return usual


def _missed(s: Structure, nodes: int, now: Flags, before: Flags) -> tuple[Ints, Flags]:
    """Per span, the service it must have called in vain, -1 when none; and per service, whether it has fallen silent.

    A service has fallen silent when its callers go on and under half of the calls that they try arrive. Tried was what has left a call
    without an answer, and, where calls leave no spans, what a caller was still there for: who stops before it is to blame itself. Whoever
    stops after a silent service misses the later ones too: of each operation the earliest silent callee counts.
    """
    spans, services = s.spans, max(len(s.spans.services), 1)
    missed, nobody = np.full(len(spans), -1, np.int64), np.zeros(services, bool)
    child, door = np.sort(s.remote), s.door
    if not len(child):
        return missed, nobody
    unit = np.where(s.blurred[s.parent[child]], door[s.parent[child]], s.parent[child])
    reached, first = np.unique(unit * services + spans.service[child], return_index=True)
    caller, callee = reached // services, reached % services
    pairs, pair = statistics.compact(s.node[caller] * services + callee)
    services_of = np.array([service for service, _ in s.nodes])
    was, is_ = before[caller], now[caller]
    of, of_now = (statistics.totals(s.node[rows], None, nodes) for rows in (before, now))
    node, target = pairs // services, pairs % services
    ratio = statistics.totals(pair, was, len(pairs)) / np.maximum(of[node], 1)
    came = statistics.totals(pair, is_, len(pairs))
    tried_now, tried_before, came_before = of_now[node].copy(), of[node].copy(), ratio * of[node]
    growth = int(now[s.main].sum()) / max(int(before[s.main].sum()), 1)
    calling = np.zeros(services, bool)
    calling[spans.service[s.blurred]] = True
    known = (of[node] >= _KNOWN) & ((ratio >= 0.3) | ((came_before >= _KNOWN) & calling[services_of[node]]))
    short = np.flatnonzero(known & (came < 0.5 * ratio * of_now[node]))
    if not len(short):
        return missed, nobody
    offset = (spans.start[child[first]] - spans.start[caller]).astype(np.float64)
    when = statistics.totals(pair[was], offset[was], len(pairs)) / np.maximum(statistics.totals(pair[was], None, len(pairs)), 1)
    unanswered = np.zeros(len(spans), np.int64)
    np.add.at(unanswered, door[s.vain], 1)
    without: dict[int, Ints] = {}
    for index in short.tolist():
        rows = np.flatnonzero(s.node == node[index])
        code = rows * services + target[index]
        found = reached[np.minimum(np.searchsorted(reached, code), len(reached) - 1)] == code
        if calling[spans.service[rows[0]]] and not s.call[rows[0]]:
            tried = unanswered[rows] > (float(np.median(unanswered[rows[found]])) if found.any() else 0.0)
        else:
            tried = s.call[rows] | (s.duration[rows] * 1_000 >= 0.8 * when[index])
        vain = rows[~found & tried]
        without[index] = vain[now[vain]]
        tried_now[index], tried_before[index] = came[index] + len(without[index]), came_before[index] + before[vain].sum()
        if not s.call[rows[0]] and len(without[index]) - before[vain].sum() * growth < 0.25 * (came_before[index] * growth - came[index]):
            came[index] = tried_now[index]  # fewer ask for it: another mix of requests, not another fate of calls
    all_now, all_before, answered, answered_before = (
        statistics.totals(target[known], x[known], services) for x in (tried_now, tried_before, came, came_before)
    )
    silent: Flags = (all_now >= 5) & (answered * all_before < 0.5 * answered_before * all_now)
    for service in np.flatnonzero(silent).tolist():
        tries, tries_before = all_now[service], all_before[service]
        silent[service] = statistics.rise(tries - answered[service], tries, tries_before - answered_before[service], tries_before) <= _SURE
    earliest: dict[int, int] = {}
    for index in short[np.lexsort((came[short] / np.maximum(tried_now[short], 1), when[short]))].tolist():
        if silent[target[index]] and came[index] < 0.5 * tried_now[index]:
            earliest.setdefault(int(node[index]), index)
    for index in earliest.values():
        missed[without[index]] = target[index]
    return missed, silent


def _again(s: Structure, now: Flags, before: Flags) -> Ints:
    """Per span, whom it called without an answer although another call beside it has one, where that became frequent; else -1."""
    services, rows = len(s.spans.services), np.flatnonzero(s.meant >= 0)
    (b1, n1), (b0, n0) = (
        (statistics.totals(s.meant[rows[w[rows]]], None, services), statistics.totals(s.callee[w & (s.callee >= 0)], None, services))
        for w in (now, before)
    )
    more = np.zeros(services, bool)
    for service in np.flatnonzero(b1 >= 3).tolist():
        more[service] = statistics.rise(b1[service], b1[service] + n1[service], b0[service], b0[service] + n0[service]) <= _SURE
    found = np.full(len(s.spans), -1, np.int64)
    rows = rows[more[s.meant[rows]] & now[rows]]
    found[rows] = s.meant[rows]
    return found


def _unknown(s: Structure, now: Flags, before: Flags, missed: Ints) -> None:
    """Fills in whom the calls of a service were meant for that brought nothing, where such became frequent: the one that as many arrive
    less at as there are of them (Poisson, likeliest by far), of several alike the one called first. In place.
    """
    spans, services = s.spans, len(s.spans.services)
    rows = np.flatnonzero(s.vain & (s.meant < 0) & (missed < 0) & (now | before))
    for caller in np.unique(spans.service[rows]).tolist():
        mine = rows[spans.service[rows] == caller]
        lost, usual = (len(np.unique(s.parent[mine[w[mine]]])) for w in (now, before))
        doors = s.door == np.arange(len(spans))
        of_now, of = (int((doors & w & (spans.service == caller)).sum()) for w in (now, before))
        if lost < 10 or statistics.rise(lost, of_now, usual, of) > _SURE:
            continue
        calls = s.remote[spans.service[s.parent[s.remote]] == caller]
        came, came_before = (statistics.totals(spans.service[calls[w[calls]]], None, services) for w in (now, before))
        expected = came_before * of_now / max(of, 1)
        without = np.maximum(expected - lost, 0.5)
        likelier = came * np.log(without / np.maximum(expected, 0.5)) - without + expected
        offset = (spans.start[calls] - spans.start[s.door[s.parent[calls]]]).astype(np.float64)
        when = statistics.totals(spans.service[calls], offset, services) / np.maximum(came + came_before, 1)
        alike = np.flatnonzero(likelier >= likelier.max() - 1)
        if likelier.max() >= _CLEARLY:
            missed[mine[now[mine]]] = alike[np.argmin(when[alike])]


def _refused(s: Structure, now: Flags, before: Flags, called: Ints, gone: Flags, lasted: Floats) -> Ints:
    """Per span, the sick service that was not called on its account, or that ended it early; -1 when none. `called`: per calling span,
    whom it calls; `lasted`: per operation, the durations in the baseline.

    A refusal that names its peer (an open circuit breaker) is no news of whoever refuses, unless calls of that kind which are made go as
    well as ever. Where no status tells, requests show it by whom they call: those that call fewer services than they did, or one of them
    again.
    """
    spans, services = s.spans, len(s.spans.services)
    refused, bare = np.full(len(spans), -1, np.int64), not (spans.status != NO_STATUS).any()
    leaf = np.ones(len(spans), bool)
    leaf[s.parent[s.parent >= 0]] = False
    told = leaf & ~s.call & (spans.status == FAILED) & (spans.peer >= 0) & (spans.peer != spans.service)
    if not (bare or told.any()):
        return refused
    odd = _odd(s, lasted)
    calling = np.flatnonzero(s.call & (called >= 0))
    row, target = np.concatenate((calling, s.remote)), np.concatenate((called[calling], spans.service[s.remote]))
    sick = _sick(s, now, before, odd, row, target)
    if told.any():
        order = np.append(s.node, -1)[s.parent] * services  # of the calls that belong together: what they are in
        kinds, tries = np.unique(order[told] + spans.peer[told]), order[row] + target
        at = np.minimum(np.searchsorted(kinds, tries), len(kinds) - 1)
        counted = kinds[at] == tries
        b1, n1, b0, n0 = (
            statistics.totals(at[rows], None, len(kinds)) for w in (now[row], before[row]) for rows in (counted & w & odd[row], counted & w)
        )
        ill = [n == 0 or b >= 0.5 * n or statistics.rise(b, n, c, m) <= _DOUBTFUL for b, n, c, m in zip(b1, n1, b0, n0, strict=True)]
        mine = np.searchsorted(kinds, order[told] + spans.peer[told])
        refused[told] = np.where(np.array(ill)[mine] | sick[spans.peer[told]], spans.peer[told], -1)
    if bare:
        _rerouted(s, now, before, sick, refused, gone)
    return refused


def _rerouted(s: Structure, now: Flags, before: Flags, sick: Flags, refused: Ints, gone: Flags) -> None:
    """Fills in, per span that enters a service: who is to blame for its calling others than it used to. In place.

    Sets of services called, of one operation, with the number of unanswered calls, are compared by how frequent they are. One that
    became frequent came from the likest that became rare. Was a service called again, it is that one. Is one missing, it is that one if it
    was found sick, or silent though called; else the one called last.
    """
    spans, services = s.spans, len(s.spans.services)
    inner = (s.parent >= 0) & (spans.service == spans.service[s.parent])
    child, entry = np.sort(s.remote), s.door
    caller = entry[s.parent[child]]
    pairs, first, times = np.unique(caller * services + spans.service[child], return_index=True, return_counts=True)
    door, callee = pairs // services, pairs % services
    mixed = (callee.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.where(times > 1, np.uint64(0xBF58476D1CE4E5B9), np.uint64(1))
    kind = s.node.astype(np.uint64) * np.uint64(0x94D049BB133111EB)
    np.add.at(kind, door, mixed)
    alone = np.bincount(s.parent[s.parent >= 0], minlength=len(spans)) == 0
    unanswered = np.minimum(np.bincount(entry[alone & inner & (s.vain | ~s.blurred)], minlength=len(spans)), _DEEP)
    kind += unanswered.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    doors = np.flatnonzero(entry == np.arange(len(spans)))
    _, example, group = np.unique(kind[doors], return_index=True, return_inverse=True)
    was, is_, node = before[doors], now[doors], s.node[doors[example]]
    of0, of1 = (statistics.totals(s.node[doors[w]], None, len(s.nodes))[node] for w in (was, is_))
    n0, n1 = (statistics.totals(group[w], None, len(example)) for w in (was, is_))
    change = n1 / np.maximum(of1, 1) - n0 / np.maximum(of0, 1)
    order = np.argsort(-np.abs(change), kind="stable")[:_MOST_SETS].tolist()
    calls: dict[int, dict[int, int]] = {}
    for index in order:
        begin, end = np.searchsorted(door, [doors[example[index]], doors[example[index]] + 1])
        calls[index] = dict(zip(callee[begin:end].tolist(), np.minimum(times[begin:end], 2).tolist(), strict=True))
    offset = (spans.start[child[first]] - spans.start[door]).astype(np.float64)
    usual = before[door]
    when = statistics.totals(callee[usual], offset[usual], services) / np.maximum(statistics.totals(callee[usual], None, services), 1)
    calls0, calls1 = (statistics.totals(callee[w], None, services) for w in (usual, now[door]))
    fell = np.divide(calls1 * int(was.sum()), calls0 * max(int(is_.sum()), 1), out=np.ones(services), where=calls0 >= _KNOWN)
    left = np.divide(n1 * of0, n0 * of1, out=np.ones(len(n0)), where=n0 * of1 > 0)
    quick, above = _quick(s, now, before), _above(spans.service[s.parent[child]], spans.service[child], services)
    calling = np.zeros(services, bool)
    calling[spans.service[entry[s.parent[child]][entry[s.parent[child]] != s.parent[child]]]] = True
    telling = []
    asked = [i for i in order if n1[i] >= 5 and of0[i] >= _KNOWN]
    for index in asked:
        if change[index] < 0.005 or statistics.rise(n1[index], of1[index], n0[index], of0[index]) > _SURE / len(asked):
            continue
        mine = calls[index]
        from_ = [i for i in order if node[i] == node[index] and change[i] <= -0.25 * change[index]]
        tried = {i: int(unanswered[doors[example[i]]]) for i in (index, *from_)}
        apart = {i: sum(abs(calls[i].get(x, 0) - mine.get(x, 0)) for x in {*calls[i], *mine}) for i in from_}
        near = min(from_, key=lambda i: (apart[i] + 0.5 * abs(tried[i] - tried[index]) + 2 * left[i], change[i]), default=-1)
        if near >= 0:
            missing = sorted((x for x, n in calls[near].items() if mine.get(x, 0) < n), key=lambda x: fell[x])
            telling.append((bool(missing), index, near, missing, tried[index], tried[index] - tried[near]))
    telling.sort(key=lambda each: each[0])  # who is called and shows that it is sick is known to be so where it is not called
    for _, index, near, missing, tried_, more in telling:
        mine, rows, grew = calls[index], doors[group == index], n1[index] * of0[index] >= 2 * n0[index] * of1[index]
        shown, scale = rows[now[rows]], of1[index] / of0[index]
        lasted = float(np.median(s.duration[shown])) * 1_000
        for x in missing:
            waiting = _waiting(s, rows, when[x], now, before, scale, n0[near] * scale - n1[near]) if fell[x] < 0.2 else rows[:0]
            if len(waiting):
                to_blame, shown, grew = [x], waiting[now[waiting]], True
                break
        else:
            tries = [x for x in missing if (tried_ if calling[spans.service[rows[0]]] else lasted >= 0.8 * when[x])]
            to_blame = (
                [x for x in tries if sick[x] or gone[x] or (tried_ and fell[x] < 0.5)]
                or [x for x in mine if mine[x] > calls[near].get(x, 0) > 0]
                or (missing[:1] if more > 0 else [])
                or [x for x in (_cut_short(s, quick, s.trace[shown]) if missing else ()) if not mine or x != spans.service[rows[0]]]
                or sorted(mine, key=lambda x: -when[x])[:1] * bool(missing or more < 0)
            )
        if not grew or not to_blame or (worst := min(to_blame, key=lambda x: when[x])) in above[spans.service[rows[0]]]:
            continue
        if worst in missing:
            refused[shown] = worst
            continue
        if tried_ and missing and not mine and n0[index] <= 0.02 * n1[index]:
            refused[shown[shown % 3 > 0]] = missing[0]  # it did something, and called nobody: whether it would or could not, nothing tells
            rows = rows[rows % 3 == 0]
        sick[worst] |= not missing
        with_it = np.zeros(s.traces, bool)
        with_it[s.trace[rows]] = True
        called = doors[with_it[s.trace[doors]] & (spans.service[doors] == worst)]
        if mine.get(worst, 0) > calls[near].get(worst, 0):  # the last one went well
            called = called[np.lexsort((spans.start[called], s.trace[called]))]
            called = called[np.diff(s.trace[called], append=-1) == 0]
        refused[called] = worst  # what is below it shows whether it was that one
    refused[:] = np.where(alone, refused[entry], refused)  # and so did whatever else was done there


def _waiting(s: Structure, rows: Ints, usual: float, now: Flags, before: Flags, scale: float, lost: float) -> Ints:
    """Of these spans, those that go on beyond the usual moment (nanoseconds) of a call that is missing, or that last longer than nearly all
    of them did, where there are so many more of them as to explain at least half of the lost calls; else none.
    """
    was = s.duration[rows[before[rows]]]
    for limit in (0.8 * usual / 1_000, float(np.quantile(was, 0.99)) if len(was) else np.inf):
        long = rows[s.duration[rows] >= max(limit, 0.8 * usual / 1_000)]
        waited, usually = int(now[long].sum()), int(before[long].sum()) * scale
        if waited >= max(5, 2 * usually) and waited - usually >= 0.5 * lost:
            return long
    return rows[:0]


def _above(caller: Ints, callee: Ints, services: int) -> list[set[int]]:
    """Per service, all whom its requests come from: they call others less or more without its doing. Who calls it and is called by
    it counts as called.
    """
    pairs = {(int(p) // services, int(p) % services) for p in np.unique(caller * services + callee)}
    found = [{a for a, b in pairs if b == service} for service in range(services)]
    for _ in range(_DEEP):
        further = [each.union(*(found[a] for a in each)) for each in found]
        if further == found:
            break
        found = further
    return [each - {b for a, b in pairs if a == service} for service, each in enumerate(found)]


def _quick(s: Structure, now: Flags, before: Flags) -> Ints:
    """Spans of the incident that end earlier than nearly all of their operation did, of services where that has become frequent."""
    histogram = _histogram(s.node[before], s.duration[before], None, len(s.nodes))
    known = histogram.sum(axis=1) >= _KNOWN
    early = s.duration < np.where(known, statistics.quantile(histogram, 0.005), 0.0)[s.node]
    services = len(s.spans.services)
    b1, n1 = (statistics.totals(s.spans.service[rows], None, services) for rows in (early & now, now))
    return np.flatnonzero(early & now & (b1 >= np.maximum(5, 0.05 * n1))[s.spans.service])


def _cut_short(s: Structure, quick: Ints, traces: Ints) -> list[int]:
    """The service whose quick spans stand in a third of the traces at least and have none below them."""
    chosen = np.zeros(s.traces, bool)
    chosen[traces] = True
    rows = quick[chosen[s.trace[quick]]]
    above = np.zeros(len(s.parent), bool)
    above[s.parent[rows[s.parent[rows] >= 0]]] = True
    rows = rows[~above[rows] & (s.parent[rows] >= 0)]
    pairs = np.unique(s.trace[rows] * len(s.spans.services) + s.spans.service[rows])
    times = np.bincount(pairs % len(s.spans.services), minlength=1)
    return [int(times.argmax())] if times.max() >= len(traces) / 3 else []


def _odd(s: Structure, histogram: Floats) -> Flags:
    """Spans that fail, last longer or end earlier than nearly all of their operation did, or call and are not answered."""
    known = histogram.sum(axis=1) >= _KNOWN
    low, high = (np.where(known, statistics.quantile(histogram, q), usual) for q, usual in ((0.005, 0.0), (0.99, np.inf)))
    odd: Flags = (s.spans.status == FAILED) | (s.duration < low[s.node]) | (s.duration > high[s.node])
    return odd | (s.call & (s.callee < 0) & (s.spans.peer < 0))


def _sick(s: Structure, now: Flags, before: Flags, odd: Flags, row: Ints, target: Ints) -> Flags:
    """Per service, whether calls to one of its operations are odd more often than they were. `row`: calls; `target`: whom they call."""
    services = len(s.spans.services)
    sick = np.zeros(services, bool)
    found, which = statistics.compact(s.node[row] * services + target)
    b1, n1, b0, n0 = (statistics.totals(which[rows], None, len(found)) for w in (now[row], before[row]) for rows in (w & odd[row], w))
    for index in np.flatnonzero((b1 >= 3) & (b1 / np.maximum(n1, 1) >= b0 / np.maximum(n0, 1) + 0.1)).tolist():
        sick[found[index] % services] |= statistics.rise(b1[index], n1[index], b0[index], n0[index]) <= _SURE
    return sick


def blame(s: Structure, p: Parts, incident: Flags, baseline: Flags) -> Blame:
    """`incident` and `baseline` mark traces."""
    spans, traces = s.spans, s.traces
    weight = spans.weight[s.main]
    in_window = (incident | baseline)[s.trace]
    late = s.duration[s.main] > _late_limit(s, baseline)
    found = _failures(s, p, incident, baseline)
    while True:
        failed_span, sure, shape = next(found)
        failed = failed_span[s.main]
        inside = np.zeros(traces, bool)
        inside[s.trace[failed_span]] = True
        rose = bool((_rose(s, p, failed_span, incident, baseline) | _rose(s, p, sure, incident, baseline, told=True)).any())
        if shape or not _raised(failed | late, incident, baseline, weight) or (rose and not _raised(failed, incident, baseline, weight)):
            failed = failed | inside  # nobody at the door failed more often: look at what failed inside
        bad = failed | late
        b1, n1 = float(weight[bad & incident].sum()), float(weight[incident].sum())
        b0, n0 = float(weight[bad & baseline].sum()), float(weight[baseline].sum())
        pvalue = statistics.rise(b1, n1, b0, n0)
        share, share_before = b1 / max(n1, 1e-9), b0 / max(n0, 1e-9)
        in_requests = pvalue <= 0.01 and share - share_before >= 0.02 and share >= 2 * share_before
        in_requests |= rose
        if in_requests or shape:
            break
    met, met_before = _met(s, p, incident, baseline, weight)
    excess = _excess(p, baseline[s.trace[p.span]], in_window[p.span])
    chosen = np.flatnonzero(in_window[p.span] & (excess > 0))
    time = _rows(s.trace[p.span[chosen]], p.part[chosen], excess[chosen] / 1_000.0, len(p))
    slower, changed, high, more = _change(time, incident, weight, met, met_before, (n1, n0))
    if in_requests:
        rows = _shared(s, p, bad & (incident | baseline), failed, failed_span, time, changed)
        mode: Mode = "requests"
    else:
        rows, mode = time, "time"
    trace, part, amount = rows
    return Blame(
        mode,
        trace,
        part,
        amount * weight[trace],
        bad,
        late,
        failed,
        met,
        met_before,
        pvalue,
        slower,
        changed,
        high,
        more,
    )


def _change(
    time: tuple[Ints, Ints, Floats], incident: Flags, weight: Floats, met: Floats, before: Floats, requests: tuple[float, float]
) -> tuple[Floats, Floats, Floats, Floats]:
    """What changed in the time of each part, whatever its requests came to: being late selects for bad luck as well as for its cause."""
    (trace, part, amount), (all_now, all_before) = time, requests
    count, now = len(met), incident[trace]
    w = weight[trace]
    e1 = np.divide(statistics.totals(part[now], (amount * w)[now], count), met, out=np.zeros(count), where=met > 0)
    e0 = np.divide(statistics.totals(part[~now], (amount * w)[~now], count), before, out=np.zeros(count), where=before > 0)
    changed = np.clip(1 - np.divide(e0, e1, out=np.ones(count), where=e1 > 0), 0, 1)
    histogram = _histogram(part[~now], amount[~now] * 1_000, w[~now], count)
    histogram[:, 0] += np.maximum(before - histogram.sum(axis=1), 0)  # requests without any excess
    high, highest = (np.nan_to_num(statistics.quantile(histogram, q)) / 1_000 for q in (0.9, 0.99))

    def more(limit: Floats) -> Floats:
        above = amount > limit[part]
        b1, b0 = statistics.totals(part[above & now], w[above & now], count), statistics.totals(part[above & ~now], w[above & ~now], count)
        return np.array([
            statistics.rise(min(a, n), n, min(b, m), m) if m > 0 else statistics.rise(a, all_now, 0, all_before)
            for a, n, b, m in zip(b1.tolist(), met.tolist(), b0.tolist(), before.tolist(), strict=True)
        ])  # fmt: skip

    slower = more(high)
    rarely = np.where(before >= 10 * _KNOWN, _TAILS * more(highest), 1.0)  # a few that last much longer leave the others where they were
    return np.minimum(slower, rarely), changed, high, np.maximum(e1 - e0, 0.0)


def _raised(bad: Flags, incident: Flags, baseline: Flags, weight: Floats) -> bool:
    b1, n1, b0, n0 = (float(weight[rows].sum()) for rows in (bad & incident, incident, bad & baseline, baseline))
    return statistics.rise(b1, n1, b0, n0) <= 0.01


def _late_limit(s: Structure, baseline: Flags) -> Floats:
    """Per trace, above which duration its request is late: max(q99, 1.5 x median) of its root operation in the baseline."""
    node = s.node[s.main]
    limit = np.full(len(s.nodes), np.inf)
    rows = np.flatnonzero(baseline)
    order = rows[np.argsort(node[rows], kind="stable")]
    for begin, end in itertools.pairwise(np.flatnonzero(np.diff(node[order], prepend=-1, append=-1)).tolist() if len(order) else ()):
        durations = s.duration[s.main[order[begin:end]]]
        if len(durations) >= 5:
            limit[node[order[begin]]] = max(float(np.quantile(durations, _LATE_SHARE)), 1.5 * float(np.median(durations)))
    return limit[node]


def _failures(s: Structure, p: Parts, incident: Flags, baseline: Flags) -> Iterator[tuple[Flags, Flags, bool]]:
    """Which spans failed, which of them surely did, and whether that is known by shape alone: by their status where there is any, else (or
    where that says nothing) by their shape.
    """
    failed = s.spans.status == FAILED
    if failed.any() or (s.spans.status != 0).mean() > 0.01:
        odd = _misshapen(s, p, incident, baseline)
        told, child = failed.copy(), np.flatnonzero(s.parent >= 0)
        for _ in range(_DEEP):  # who ended early below a failure failed, whatever it says itself
            quiet = child[odd[child] & ~failed[child] & failed[s.parent[child]]]
            if not len(quiet):
                break
            failed[quiet] = True
        yield failed, told, False
        yield odd, np.zeros(len(odd), bool), True
    else:
        repeated = _in_vain(s, p, incident[s.trace], baseline[s.trace])
        yield _misshapen(s, p, incident, baseline) | repeated, repeated, True


def _in_vain(s: Structure, p: Parts, now: Flags, before: Flags) -> Flags:
    """Spans of a service whose calls were made again, where that became frequent: what came before a repetition had failed."""
    found, services = np.zeros(len(s.parent), bool), len(s.spans.services)
    first, again = p.repeated
    by = s.callee[first]
    first, again, by = first[by >= 0], again[by >= 0], by[by >= 0]
    calls = s.call & (s.callee >= 0)
    (b1, n1), (b0, n0) = (
        (statistics.totals(by[w[again]], None, services), statistics.totals(s.callee[calls & w], None, services)) for w in (now, before)
    )
    more = np.zeros(services, bool)
    for service in np.flatnonzero((b1 >= 5) & (n0 >= _KNOWN)).tolist():
        more[service] = statistics.rise(b1[service], n1[service], b0[service], n0[service]) <= _SURE / services
    of_first = np.zeros(len(s.parent), bool)
    of_first[first[more[by] & now[first]]] = True
    found[s.remote[of_first[s.parent[s.remote]]]] = True
    return found


def _misshapen(s: Structure, p: Parts, incident: Flags, baseline: Flags) -> Flags:
    """Shorter, or with fewer calls, than before, of operations where that became frequent; left without the callee that was always there.
    Who stops early after fewer calls than ever was told so by the last one.
    """
    before, histogram = baseline[s.trace], p.lasted
    shortest, enough = statistics.quantile(histogram, 0.005), histogram.sum(axis=1) >= _KNOWN
    short = enough[s.node] & (s.duration < np.where(enough, shortest, 0)[s.node])
    less = _rose(s, p, short, incident, baseline)
    short &= less[s.node]
    child = np.flatnonzero((s.parent >= 0) & ~_steps(s))
    called = statistics.totals(s.parent[child], None, len(short))
    counts = statistics.totals(s.node[before] * 16 + np.minimum(called[before], 15).astype(np.int64), None, len(s.nodes) * 16).reshape(
        -1, 16
    )
    fewest = (np.cumsum(counts, axis=1) <= _RARELY * counts.sum(axis=1)[:, None]).sum(axis=1)
    stopped = enough[s.node] & (called < fewest[s.node]) & ~p.in_vain
    stopped &= _rose(s, p, stopped, incident, baseline)[s.node]
    odd: Flags = short | p.in_vain | (stopped & (called == 0))
    stopped &= called > 0
    last = np.full(len(short), -1, np.int64)
    of_stopped = child[stopped[s.parent[child]]]
    of_stopped = np.concatenate((of_stopped, child[stopped[np.maximum(s.parent[s.parent[child]], 0)]]))
    order = of_stopped[np.argsort(s.spans.start[of_stopped] + s.spans.duration[of_stopped], kind="stable")]
    last[s.parent[order]] = order
    for _ in range(2):  # the call, then what it called
        hit = last[stopped]
        odd[hit[hit >= 0]] = True
        stopped = np.zeros(len(short), bool)
        stopped[hit[(hit >= 0) & s.call[np.maximum(hit, 0)]]] = True
    told = _last_word(s, odd & incident[s.trace], before, p.in_vain)
    odd[told] = True
    odd[s.parent[told]] = True
    odd[_more_steps(s, odd, incident[s.trace], before)] = True
    middle = np.nan_to_num(statistics.quantile(histogram, 0.5))
    child = np.flatnonzero(s.parent >= 0)
    may = child[less[s.node[child]] & (s.duration < middle[s.node])[child]]
    for _ in range(_DEEP):  # below who ended early, whoever often does so now and was not slow either was the reason
        reason = may[odd[s.parent[may]] & ~odd[may]]
        if not len(reason):
            break
        odd[reason] = True
    return odd


def _more_steps(s: Structure, odd: Flags, now: Flags, before: Flags) -> Ints:
    """Steps without a name in requests that seem well but for one more of them than usual, where such became frequent: what a service does
    besides when something of its own went wrong.
    """
    door, services = s.door, len(s.spans.services)
    steps = np.flatnonzero(_steps(s) & (s.parent == door))
    if not len(steps):
        return steps
    told = np.zeros(len(odd), bool)
    told[door[odd | s.vain]] = True
    with_it = np.zeros(len(odd), bool)
    with_it[door[steps[~told[door[steps]]]]] = True
    calling = np.zeros(services, bool)
    calling[s.spans.service[s.blurred & (s.callee >= 0)]] = True
    doors = (door == np.arange(len(odd))) & calling[s.spans.service]
    (b1, n1), (b0, n0) = (
        (
            statistics.totals(s.spans.service[doors & w & with_it], None, services),
            statistics.totals(s.spans.service[doors & w], None, services),
        )
        for w in (now, before)
    )
    share, usual = b1 / np.maximum(n1, 1), b0 / np.maximum(n0, 1)
    more = (n0 >= _KNOWN) & (share >= usual + 0.15) & (share >= 2 * usual)
    for service in np.flatnonzero(more).tolist():
        more[service] = statistics.rise(b1[service], n1[service], b0[service], n0[service]) <= _SURE
    return steps[(more[s.spans.service] & with_it[door] & now)[steps]]


def _steps(s: Structure) -> Flags:
    """Spans without a name of their own that have nothing below them and are no calls."""
    if not s.blurred.any():
        return s.blurred
    leaf = np.ones(len(s.parent), bool)
    leaf[s.parent[s.parent >= 0]] = False
    return s.blurred & leaf & ~s.vain


def _last_word(s: Structure, odd: Flags, before: Flags, in_vain: Flags) -> Ints:
    """Of the odd ones, the spans of the service that mostly was the last they called, although others used to come after it; unless they
    called another one in vain.
    """
    services, door = len(s.spans.services), s.door
    odd = odd.copy()
    odd[door[in_vain]] = False
    if not len(s.remote):
        return s.remote
    last = np.full(len(odd), -1, np.int64)
    last[door[s.parent[s.remote]]] = s.remote
    calling = np.flatnonzero(last >= 0)
    pairs, pair = statistics.compact(s.node[calling] * services + s.spans.service[last[calling]])
    node = pairs // services
    (now, of_now), (was, of_was) = (
        (
            statistics.totals(pair[chosen[calling]], None, len(pairs)),
            statistics.totals(s.node[calling[chosen[calling]]], None, len(s.nodes))[node],
        )
        for chosen in (odd, before)
    )
    share, usual = now / np.maximum(of_now, 1), was / np.maximum(of_was, 1)
    telling = (now >= 5) & (share >= 0.7) & (share - usual >= 0.4) & (of_was >= _KNOWN)
    return last[calling[telling[pair] & odd[calling]]]


def _rose(s: Structure, p: Parts, marked: Flags, incident: Flags, baseline: Flags, *, told: bool = False) -> Flags:
    """Per operation, whether a larger share of its spans is marked than in the baseline: beyond chance, and by five points at least; where
    the spans themselves have told so, from one point on if it is thrice as much.
    """
    nodes, rows = len(s.nodes), np.flatnonzero(marked)
    b1, b0 = (statistics.totals(s.node[rows[window[s.trace[rows]]]], None, nodes) for window in (incident, baseline))
    n1, n0 = p.seen, p.lasted.sum(axis=1)
    share, usual = b1 / np.maximum(n1, 1), b0 / np.maximum(n0, 1)
    more = (b1 >= 5) & (share - usual >= 0.05) & (n0 >= _KNOWN)
    if told:
        more |= (b1 >= 10) & (share - usual >= 0.01) & (share >= 3 * usual) & (n0 >= _KNOWN)
    sure = _SURE / max(int((n1 > 0).sum()), 1)
    rose = np.zeros(nodes, bool)
    for node in np.flatnonzero(more).tolist():
        rose[node] = statistics.rise(b1[node], n1[node], b0[node], n0[node]) <= sure
    return rose


def _histogram(group: Ints, duration: Floats, weight: Floats | None, groups: int) -> Floats:
    code = group * statistics.BUCKETS + statistics.buckets(duration)
    return statistics.totals(code, weight, groups * statistics.BUCKETS).reshape(groups, statistics.BUCKETS)


def _excess(p: Parts, before: Flags, window: Flags) -> Floats:
    """Per entry, microseconds above the median of its part in the baseline (of its service where that is too young), clipped at the
    99.5th percentile of its part.
    """
    histogram = _histogram(p.part[before], p.time[before], None, len(p))
    seen = histogram.sum(axis=1)
    of_service = np.zeros((int(p.service.max()) + 1 if len(p) else 1, statistics.BUCKETS))
    np.add.at(of_service, p.service, histogram)
    usual = statistics.quantile(of_service, 0.5)[p.service]
    median = statistics.quantile(histogram, 0.5)
    here = np.nan_to_num(median)
    young = np.where(seen > 0, (here * seen + 10 * np.where(np.isnan(usual), here, usual)) / (seen + 10), usual)
    median = np.where(seen >= 30, median, young)
    top = statistics.quantile(_histogram(p.part[window], p.time[window], None, len(p)), _CLIP)
    limit = np.where(np.isnan(top), np.inf, top * 1.2)
    excess: Floats = np.maximum(np.minimum(p.time, limit[p.part]) - np.where(np.isnan(median), np.inf, median)[p.part], 0.0)
    return excess


def _met(s: Structure, p: Parts, incident: Flags, baseline: Flags, weight: Floats) -> tuple[Floats, Floats]:
    """Per part, how many of the requests met it, of the incident and of the baseline."""
    code = np.sort(s.trace[p.span] * len(p) + p.part)
    code = code[np.diff(code, prepend=-1) > 0]
    trace, part = np.divmod(code, max(len(p), 1))
    met, before = (statistics.totals(part[w], weight[trace[w]], len(p)) for w in (incident[trace], baseline[trace]))
    return met, before


def _rows(trace: Ints, part: Ints, amount: Floats, parts: int) -> tuple[Ints, Ints, Floats]:
    """Sums per (trace, part)."""
    code, index = statistics.compact(trace * parts + part)
    return code // max(parts, 1), code % max(parts, 1), statistics.totals(index, amount, len(code))


def _shared(
    s: Structure, p: Parts, bad: Flags, failed: Flags, failed_span: Flags, time: tuple[Ints, Ints, Floats], changed: Floats
) -> tuple[Ints, Ints, Floats]:
    """Blame of the bad traces: of failed ones on the deepest failing spans, of late ones by the time above normal that is new."""
    below = np.zeros(len(failed_span), bool)
    below[s.parent[failed_span & (s.parent >= 0)]] = True
    deepest = np.flatnonzero(failed_span & ~below & (bad & failed)[s.trace])
    fail = _rows(s.trace[deepest], p.of_span[deepest], np.ones(len(deepest)), len(p))
    late = (bad & ~failed)[time[0]]
    slow = time[0][late], time[1][late], (time[2] * np.maximum(changed, 0.02)[time[1]])[late]
    trace, part, amount = (np.concatenate(pair) for pair in zip(fail, slow, strict=True))
    total = statistics.totals(trace, amount, s.traces)
    return trace, part, amount / np.maximum(total[trace], 1e-9)
