"""What blame is told and what it answers: links with numbers of two windows, happenings; causes and incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analyzers.latency.regression import CauseKind

What = Literal["latency", "errors"]
HappeningKind = Literal["version", "policy", "edge", "pods", "retries"]


@dataclass(frozen=True, slots=True)
class Side:
    """Calls of a link in one window, as the proxy at one end saw them.

    Attributes:
        mean_us: of their durations; None = none was timed.
        mean_error_us: standard error of the mean. Calls of a minute are no independent ones: one taken from how the
            minutes differ is the honest one.
        errors: failed calls.
        dispersion: how many times as much as independent calls the failures vary (at least 1).
    """

    requests: float
    mean_us: float | None = None
    mean_error_us: float = 0.0
    errors: float = 0.0
    dispersion: float = 1.0


@dataclass(frozen=True, slots=True)
class Window:
    """A link before or after.

    Attributes:
        caller, callee: what the proxies of the two ends saw; None = that end told nothing.
        gap_error_us: standard error of the caller's mean minus the callee's. None = unknown: the two are then taken for
            independent, and only a large part is ever given to the network.
    """

    seconds: float
    caller: Side | None = None
    callee: Side | None = None
    gap_error_us: float | None = None

    @property
    def per_second(self) -> float:
        """Requests per second, as seen by the end that saw more; 0 for a window without length."""
        most = max((side.requests for side in (self.caller, self.callee) if side), default=0.0)
        return most / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """An edge and operation of the map, before and after.

    Attributes:
        since_us: when it got slow, or began to fail (us since 1970); None = nobody found that it did.
        busier_since_us: when its calls became more; None likewise.
    """

    source: str
    destination: str
    operation: str
    before: Window
    after: Window
    since_us: int | None = None
    busier_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that changed at a service."""

    when_us: int
    service: str
    kind: HappeningKind
    text: str


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause of one link's change.

    Attributes:
        service: the node to look at; for `load` the caller whose calls became more, for `network` the end to look at.
        kind: `self` = the destination of the link, `callee` = a node further down, the network or proxies between two,
            load, or a deploy of the node.
        share: of the change that it explains, 0..1.
        delta_us: the same as time per call; None for errors.
        delta_error_share: the same as a share of the calls; None for latency.
    """

    service: str
    kind: CauseKind
    share: float
    delta_us: float | None
    delta_error_share: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Blame:
    """The causes of one link's change, the greatest share first.

    Attributes:
        link: its place among the links given.
        note: why nothing can be said, where there are no causes.
    """

    link: int
    causes: Sequence[Cause]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """Links that share their first cause, told as one.

    Attributes:
        service, kind: of the cause; None = not known, and then of one link only. `self` also where it is a `callee`
            of the links.
        links: their places, the one with the greatest share first.
    """

    service: str | None
    kind: CauseKind | None
    links: Sequence[int]
