"""Why a service's own time grew: more calls came first, or something was changed just before; and between which ends.

Changes, happenings ──► Reasons ──► blame
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzers.latency.graph.changes import Changes, Flags, Floats
from analyzers.latency.graph.model import Happening

MINUTE_US = 60_000_000
JUST_BEFORE_US = 15 * MINUTE_US
"""What happened earlier than this (us) before a change has nothing to do with it."""
LOAD_RATIO = 1.2
"""More calls are a cause when they grew by this and came first; queues grow faster than the load that fills them ..."""
SUDDEN_LOAD_RATIO = 1.5
"""... or by this within the same minute, finer than which nobody looks."""
MORE_CALLS_RATIO = 1.5
"""More calls per request are told from here on."""
WIDE_SHARE = 0.5
"""The source is blamed for what lies between when this share of its other links has got slower in between too."""


@dataclass(frozen=True, slots=True)
class Load:
    """A caller whose calls became more before a service got slow."""

    caller: int
    text: str


class Reasons:
    """Answers per service, from columns made once."""

    def __init__(self, changes: Changes, counts: Flags, happenings: Sequence[Happening]) -> None:
        self._changes, self._counts = changes, counts
        self._happenings: dict[str, list[Happening]] = defaultdict(list)
        for happening in sorted(happenings, key=lambda each: each.when_us):
            self._happenings[happening.service].append(happening)
        self._into, self._out = _by(changes.destination), _by(changes.source)

    def onset_us(self, service: int) -> float:
        """The earliest of its callers' changes; NaN = not known."""
        links = self._into.get(service, _NONE)
        known = self._changes.since_us[links[self._counts[links]]]
        known = known[~np.isnan(known)]
        return float(known.min()) if len(known) else float("nan")

    def load(self, service: int) -> Load | None:
        """Rule: the rate rose clearly, and a minute or more before; or by half within the same minute."""
        changes, links, onset = self._changes, self._into.get(service, _NONE), self.onset_us(service)
        before, after = changes.before_per_s[links], changes.after_per_s[links]
        if np.isnan(onset) or before.sum() <= 0 or after.sum() < LOAD_RATIO * before.sum():
            return None
        callers, place = np.unique(changes.source[links], return_inverse=True)
        first = int(callers[np.bincount(place, after - before).argmax()])
        rose = links[(changes.source[links] == first) & (changes.after_per_s[links] > changes.before_per_s[links])]
        moments = changes.busier_since_us[rose]
        moments = moments[~np.isnan(moments)]
        if not len(moments):
            return None
        ratio, earlier = after.sum() / before.sum(), (onset - float(moments.min())) / MINUTE_US
        if earlier < 1 and not (earlier > -1 and ratio > SUDDEN_LOAD_RATIO):
            return None
        when = f"{earlier:.0f} min before" if earlier >= 1 else "in the same minute"
        names = changes.services
        text = f"{names[first]} calls more: {names[service]} got {ratio:.2f} times the requests, {when}"
        return Load(first, text)

    def just_before(self, service: int) -> Sequence[Happening]:
        """What changed at the service shortly before it did, the latest first.

        The minute of the onset itself counts: finer than that nobody looks.
        """
        onset = self.onset_us(service)
        return [
            each
            for each in reversed(self._happenings.get(self._changes.services[service], ()))
            if onset - JUST_BEFORE_US <= each.when_us < onset + MINUTE_US
        ]

    def more_calls(self, service: int) -> str | None:
        """The callee that a request now leads to more calls of, told in words."""
        changes, into, out = self._changes, self._into.get(service, _NONE), self._out.get(service, _NONE)
        before, after = changes.before_per_s[into].sum(), changes.after_per_s[into].sum()
        if before <= 0 or after <= 0 or not len(out):
            return None
        callees, place = np.unique(changes.destination[out], return_inverse=True)
        was = np.bincount(place, changes.before_per_s[out]) / before
        now = np.bincount(place, changes.after_per_s[out]) / after
        worst = int((now - was).argmax())
        if now[worst] < MORE_CALLS_RATIO * was[worst] or now[worst] - was[worst] < MORE_CALLS_RATIO - 1:
            return None
        if not was[worst]:
            return f"calls {changes.services[callees[worst]]}, as it did not before, {now[worst]:.2g} times a request"
        return f"calls {changes.services[callees[worst]]} {now[worst]:.2g} times a request, {was[worst]:.2g} before"

    def end(self, link: int) -> int:
        """Which end of a link to look at when the time is lost in between: the one whose other links lose some too."""
        changes = self._changes
        source, destination = int(changes.source[link]), int(changes.destination[link])
        near = _wide(changes.between, self._touching(source), self._touching(destination))
        far = _wide(changes.between, self._touching(destination), self._touching(source))
        return source if near >= WIDE_SHARE and near > far else destination

    def _touching(self, service: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.concatenate([self._into.get(service, _NONE), self._out.get(service, _NONE)])


_NONE = np.zeros(0, np.int64)


def _by(services: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[int, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Places of the links of each service."""
    order = np.argsort(services, kind="stable")
    found, starts = np.unique(services[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _wide(
    between: Floats,
    mine: np.ndarray[tuple[int], np.dtype[np.int64]],
    other: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> float:
    """Share of a service's links, those with the other end aside, that lose time in between."""
    rest = np.setdiff1d(mine, other)
    return float((between[rest] > 0).mean()) if len(rest) else 0.0
