"""How spans hang together: callers, traces, exclusive time, and whose time it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from observability.rootcause.spans import CLIENT, INTERNAL, PRODUCER, UNKNOWN, Flags, Floats, Ints, Spans, ends
from observability.rootcause.statistics import compact, totals

SEEN: Final = 5
"""An edge of calls is known from so many calls on."""
_MIXED: Final = 0.02
_LAYERS: Final = 4
"""Spans of one service that lie around a call."""
_LONGEST: Final = 3_600_000_000
"""Microseconds: longer durations do not count as more."""


class Role(IntEnum):
    """Of a span without a name of its own: a CALL has the called one below it, AROUND lies around calls, READING has nothing below it and
    lies in a call that was answered, AGAIN beside one, VAIN in one that never was; DOOR lies where the request entered.
    """

    NAMED, CALL, AROUND, WORK, DOOR, READING, AGAIN, VAIN = range(8)


@dataclass(slots=True)
class Pauses:
    """What callers spend outside their calls: per pause its caller, the child that ended before it and the one that begins after it (rows;
    -1 at either end), and microseconds.
    """

    caller: Ints
    before: Ints
    after: Ints
    time: Floats


@dataclass(slots=True)
class Structure:
    """Per span, in the order of `spans`. Times in microseconds.

    `parent` is -1 for roots. `node` numbers (service, operation) pairs; what enters a service and its calls are told apart where they bear
    one name. `callee` is the service called last, -1 when none.
    """

    spans: Spans
    parent: Ints
    trace: Ints
    """Consecutive numbers; a trace is what shares an id, or, without ids, what hangs together."""
    main: Ints
    """Per trace, its first root: the request."""
    began: Ints
    """Per trace, nanoseconds since 1970."""
    exclusive: Floats
    pauses: Callable[[Flags], Pauses]
    """Of the spans that are wanted: few need them, and there are as many as calls."""
    duration: Floats
    node: Ints
    nodes: list[tuple[int, int]]
    """Per node its service and operation."""
    callee: Ints
    call: Flags
    """The span is nothing but a call: its exclusive time belongs to the way."""
    blurred: Flags
    """The span lies inside its service and bears the name of what it lies in: whom it calls only its child tells."""
    vain: Flags
    """Of the blurred ones, calls that brought nothing."""
    meant: Ints
    """Per such call that stands beside one which was answered, by whom; else -1."""
    remote: Ints
    """Rows whose parent is of another service, by when they end."""
    door: Ints
    """The span by which the request entered the service."""
    orphans: float
    joined: int
    skewed: int
    """Pairs of services whose clocks had to be shifted."""

    @property
    def traces(self) -> int:
        return len(self.main)


def structure(spans: Spans) -> Structure:
    """Linear in the number of spans but for three sorts."""
    count = len(spans)
    orphan = (spans.parent < 0) & (spans.parent_key != 0)
    parent = spans.parent.copy()
    duration = np.minimum(spans.duration // 1_000, _LONGEST).astype(np.float64)
    trace = spans.trace if count and spans.trace[0] >= 0 else _numbered(ends(np.where(parent < 0, np.arange(count), parent)))
    shift, skewed = _skew(spans, parent)
    joined = _join(spans, parent, orphan, trace, shift)
    children = np.flatnonzero(parent >= 0)
    covered, pauses = _covered(spans, parent, children, shift)
    exclusive = np.maximum(duration - covered, 0.0)
    away = spans.service[children] != spans.service[parent[children]]
    remote = children[away]
    remote = remote[np.argsort(spans.start[remote] + spans.duration[remote], kind="stable")]
    callee = np.full(count, -1, np.int64)
    callee[parent[remote]] = spans.service[remote]
    door = np.arange(count)
    door[children[~away]] = parent[children[~away]]
    door = ends(door)
    node, nodes, blurred, vain, meant = _nodes(spans, parent, children, callee)
    call = _calls(spans, parent, children, callee, node, len(nodes))
    main, began = _requests(spans, parent, trace)
    return Structure(
        spans, parent, trace, main, began, exclusive, pauses, duration, node, nodes, callee, call, blurred, vain, meant, remote, door,
        float(orphan.mean()) if count else 0.0, joined, skewed,
    )  # fmt: skip


def _numbered(labels: Ints) -> Ints:
    return compact(labels)[1].astype(np.int64)


def _requests(spans: Spans, parent: Ints, trace: Ints) -> tuple[Ints, Ints]:
    """Per trace the root that starts first (a real root before a fragment), and when the trace began."""
    count = int(trace.max()) + 1 if len(trace) else 0
    roots = np.flatnonzero(parent < 0)
    real = spans.parent_key[roots] == 0
    order = roots[np.lexsort((spans.start[roots], ~real, trace[roots]))]
    main = np.zeros(count, np.int64)
    main[trace[order[::-1]]] = order[::-1]
    began = np.full(count, np.iinfo(np.int64).max)
    if count:  # spans of one trace mostly follow one another
        runs = np.flatnonzero(np.concatenate(([True], trace[1:] != trace[:-1])))
        np.minimum.at(began, trace[runs], np.minimum.reduceat(spans.start, runs))
    return main, began


def _skew(spans: Spans, parent: Ints) -> tuple[Ints, int]:
    """Per span, nanoseconds by which its clock is ahead of its parent's, where calls otherwise lie outside their callers.

    The least shift with which calls fit: from the quantiles of how far they start before, and end after, their callers.
    """
    shift = np.zeros(len(spans), np.int64)
    children = np.flatnonzero(parent >= 0)
    children = children[spans.service[children] != spans.service[parent[children]]]
    if not len(children):
        return shift, 0
    above, buffer = parent[children], np.empty(len(children), np.int64)
    pair = spans.service[above]
    pair *= len(spans.services) + 1
    pair += _taken(spans.service, children, buffer)
    order = np.argsort(pair.astype(np.uint16) if len(spans.services) < 2**8 else pair, kind="stable")  # what is small is sorted much faster
    edges = np.flatnonzero(np.diff(pair[order], prepend=-1, append=-1))
    ahead = spans.start[children]
    ahead -= _taken(spans.start, above, buffer)
    behind = spans.duration[children]
    behind += ahead
    behind -= _taken(spans.duration, above, buffer)
    skewed = 0
    for begin, end in itertools.pairwise(edges.tolist()):
        if end - begin < SEEN:
            continue
        rows = order[begin:end]
        high, low = np.quantile(ahead[rows], 0.1), np.quantile(behind[rows], 0.9)
        if low <= 0 <= high:
            continue
        middle = float(np.median((ahead[rows] + behind[rows]) / 2))
        clock = middle if low > high else float(min(max(0.0, low), high))
        if abs(clock) < 1_000_000 and abs(clock) < 0.2 * float(np.median(spans.duration[above[rows]])):
            continue  # rounding, or a call that outlives its caller by a little
        shift[children[rows]] = int(clock)
        skewed += 1
    return shift, skewed


def _join(spans: Spans, parent: Ints, orphan: Flags, trace: Ints, shift: Ints) -> int:
    """A fragment whose parent is missing joins the only span of its trace that can call it and contains it in time. In place."""
    lost = np.flatnonzero(orphan & (parent < 0))
    if not len(lost) or len(lost) > 0.9 * len(spans):
        return 0
    services, operations = len(spans.services), len(spans.operations)
    known = np.flatnonzero(parent >= 0)
    calls, times = np.unique(
        (spans.service[parent[known]] * services + spans.service[known]) * operations + spans.operation[known], return_counts=True
    )
    calls = calls[times >= SEEN]
    if not len(calls):
        return 0
    order = np.argsort(trace, kind="stable")
    first = np.searchsorted(trace[order], np.arange(int(trace.max()) + 2))
    size = np.diff(first)[trace[lost]]
    joined = 0
    lost = lost[size < 2_000]
    for block in np.array_split(lost, max(1, int(np.diff(first)[trace[lost]].sum() // 4_000_000) + 1)):
        if not len(block):
            continue
        sizes = np.diff(first)[trace[block]]
        child = np.repeat(block, sizes)
        step = np.arange(len(child)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        caller = order[first[trace[child]] + step]
        edge = (spans.service[caller] * services + spans.service[child]) * operations + spans.operation[child]
        at = np.minimum(np.searchsorted(calls, edge), len(calls) - 1)
        fits = (
            (calls[at] == edge)
            & (caller != child)
            & (spans.start[caller] <= spans.start[child])
            & (spans.start[caller] + spans.duration[caller] >= spans.start[child] + spans.duration[child])
        )
        child, caller = child[fits], caller[fits]
        one, index, times = np.unique(child, return_index=True, return_counts=True)
        only = times == 1
        parent[one[only]] = caller[index[only]]
        joined += int(only.sum())
    return joined


def _taken(column: Ints, rows: Ints, into: Ints) -> Ints:
    """The column's values there, without new memory: at a million spans that costs more than what is done with it."""
    return np.take(column, rows, out=into, mode="clip")


def _covered(spans: Spans, parent: Ints, children: Ints, shift: Ints) -> tuple[Floats, Callable[[Flags], Pauses]]:
    """Microseconds of each span during which one of its children ran, and the pauses between them."""
    if not len(children):
        none = np.zeros(0, np.int64)
        return np.zeros(len(spans)), lambda wanted: Pauses(none, none, none, np.zeros(0))
    above, buffer = parent[children], np.empty(len(children), np.int64)
    limit = spans.duration[above]
    limit //= 1_000
    np.minimum(limit, _LONGEST, out=limit)
    begin = spans.start[children]
    begin -= _taken(shift, children, buffer)
    begin -= _taken(spans.start, above, buffer)
    begin //= 1_000
    end = spans.duration[children]
    end //= 1_000
    np.minimum(end, _LONGEST, out=end)
    end += begin
    np.clip(end, 0, limit, out=end)
    np.clip(begin, 0, limit, out=begin)
    np.left_shift(above, 32, out=buffer)
    buffer |= begin
    order = np.argsort(buffer, kind="stable")
    child, above, begin, end = children[order], above[order], begin[order], end[order]
    first = np.ones(len(child), bool)
    np.not_equal(above[1:], above[:-1], out=first[1:])
    lift = np.cumsum(first, out=buffer)
    lift *= int(end.max()) + 1
    end += lift
    furthest = np.maximum.accumulate(end)
    leads = end >= furthest
    furthest -= lift  # group by group, the furthest end so far
    end -= lift
    so_far = lift
    so_far[0], so_far[1:] = 0, furthest[:-1]
    so_far[first] = 0
    end -= np.maximum(begin, so_far, out=limit)
    covered = totals(above, np.maximum(end, 0, out=end), len(spans))

    def pauses(wanted: Flags) -> Pauses:
        last = np.flatnonzero(np.append(first[1:], True) & wanted[above])
        some = np.flatnonzero(wanted[above])
        ahead = np.maximum.accumulate(np.where(leads, np.arange(len(child)), 0)) if len(some) else some
        return Pauses(
            np.concatenate((above[some], above[last])),
            np.concatenate((np.where(first[some], -1, child[ahead[some - 1]]), child[ahead[last]])),
            np.concatenate((child[some], np.full(len(last), -1))),
            np.concatenate((
                np.maximum(begin[some] - so_far[some], 0),
                np.maximum(np.minimum(spans.duration[above[last]] // 1_000, _LONGEST) - furthest[last], 0),
            )).astype(np.float64),
        )  # fmt: skip

    return covered, pauses


def _nodes(spans: Spans, parent: Ints, children: Ints, callee: Ints) -> tuple[Ints, list[tuple[int, int]], Flags, Flags, Ints]:
    """Node per span, service and operation per node, which spans are blurred (those inside a service whose name what enters it has too, or
    that all have no name), told apart by their place, and which of these are calls that brought nothing.
    """
    services, base = len(spans.services) + 1, len(spans.operations) + 1
    found, node = compact(spans.service * base + spans.operation)
    inner = np.zeros(len(spans), bool)
    inner[children] = spans.service[parent[children]] == spans.service[children]
    known = (parent >= 0) | (spans.parent_key == 0)
    share = totals(node[known], inner[known], len(found)) / np.maximum(totals(node[known], None, len(found)), 1)
    blurred = inner & ((share > _MIXED) & (share < 1 - _MIXED))[node]
    vain, meant = np.zeros(len(spans), bool), np.full(len(spans), -1, np.int64)
    if blurred.any():
        role, target, vain = _roles(spans, parent, children, callee, inner, blurred)
        meant[role == Role.AGAIN] = target[role == Role.AGAIN]
        several, node = compact((node * len(Role) + role) * services + np.where(role, target + 1, 0))
        found = found[several // (len(Role) * services)]
    return node, [(p // base, p % base) for p in found.tolist()], blurred, vain, meant


def _roles(spans: Spans, parent: Ints, children: Ints, callee: Ints, inner: Flags, blurred: Flags) -> tuple[Ints, Ints, Flags]:
    """What each span that has no name of its own is by its place, the service that this is about (-1: none), and whether it is a call that
    brought nothing: without anything below it where others of its service have their answers.
    """
    toward, leaf = callee.copy(), np.ones(len(spans), bool)
    leaf[parent[children]] = False
    deep = children[inner[children] & inner[parent[children]]]
    for _ in range(_LAYERS):
        up = deep[(toward[deep] >= 0) & (toward[parent[deep]] < 0)]
        if not len(up):
            break
        toward[parent[up]] = toward[up]
    above = np.where(inner, parent, 0)
    below = np.where(inner[above], toward[above], -1)
    role = np.select(
        [~blurred, callee >= 0, ~leaf & (toward >= 0), ~leaf, ~inner[above], callee[above] >= 0, below >= 0],
        [Role.NAMED, Role.CALL, Role.AROUND, Role.WORK, Role.DOOR, Role.READING, Role.AGAIN],
        Role.VAIN,
    ).astype(np.int64)
    target = np.where(leaf, below, toward)
    calls = np.bincount(spans.service[role == Role.CALL], minlength=len(spans.services))
    layered = np.bincount(spans.service[(role == Role.CALL) & inner[above]], minlength=len(spans.services)) > 0.5 * calls
    vain: Flags = (role == Role.AGAIN) | (role == Role.VAIN) | ((role == Role.DOOR) & ~layered[spans.service])
    return role, target, vain


def _calls(spans: Spans, parent: Ints, children: Ints, callee: Ints, node: Ints, nodes: int) -> Flags:
    """Spans that do nothing but call: client spans, and, where no kind is told, operations that always stand below a span of their own
    service and mostly have one child, in one other service, beside what reads its answer.
    """
    call: Flags = (spans.kind == CLIENT) | (spans.kind == PRODUCER)
    unknown = (spans.kind == UNKNOWN) | (spans.kind == INTERNAL)
    if not unknown.any():
        return call
    away = spans.service[children] != spans.service[parent[children]]
    leaf = np.ones(len(spans), bool)
    leaf[parent[children]] = False
    several = totals(parent[children], away | ~leaf[children], len(spans))
    local = np.zeros(len(spans), bool)
    local[children] = ~away
    single = unknown & local & (several == 1) & (callee >= 0)
    share = totals(node, single, nodes) / np.maximum(totals(node, None, nodes), 1)
    inside = totals(node, local & unknown, nodes) / np.maximum(totals(node, None, nodes), 1)
    single_call: Flags = unknown & local & ((share >= 0.5) & (inside >= 0.95))[node]
    return call | single_call
