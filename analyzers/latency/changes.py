"""What else changed when something became slower: versions, load, policies, pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from analyzers.dependencies.names import node_id
from analyzers.latency.grid import MINUTE_S, grid
from analyzers.latency.limits import Limits
from analyzers.latency.read_links import Around, Window
from analyzers.latency.regression import Regression
from analyzers.latency.stack import Floats
from analyzers.latency.stored_rollups import StoredRollups
from storage.engine import Engine
from storage.sql import load

SHORTLY = timedelta(minutes=15)
"""What changed so long before the begin, at most, is told."""
SURGE = 1.5
"""The load of a service grew when its calls per minute are so many times what they were."""
FIRST_MIN = 1
"""Minutes by which calls must have grown before they became slower; a surge may come in the same minute."""
NEW_SHARE, OLD_SHARE = 0.05, 0.01
ROW_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Changed:
    """Something done on purpose; `service` None = it may concern any."""

    at: datetime
    service: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Load:
    """Whose calls grew, and how."""

    caller: str
    text: str


def changed_around(engine: Engine, one: Regression) -> Sequence[Changed]:
    """Policies and pods that came shortly before a regression began, the latest first.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    window = {"since": one.since - SHORTLY, "until": one.since + timedelta(minutes=2), "row_limit": ROW_LIMIT}
    found: list[Changed] = []
    for row in engine.query(load("latency/changed_around").text, window).to_pylist():
        at: datetime = row["at"]
        if row["what"] == "policies":
            found.append(Changed(at, None, f"a set of {row['many']} policies began to hold at {at:%H:%M}"))
        else:
            many = f"{row['many']} pod{'' if row['many'] == 1 else 's'}"
            service = node_id(row["namespace"], row["node"])
            found.append(Changed(at, service, f"{many} of {service} began to run at {at:%H:%M}"))
    return found


def deploy_of(service: str, around: Around, limits: Limits) -> str | None:
    """A version that came with the slow-down, and is slower than those that were there; None = there is none."""
    versions = {version: one for (of, version), one in around.versions.items() if of == service and version}
    before, after = (sum(one.calls[half] for one in versions.values()) for half in (0, 1))
    if not after or not before:
        return None
    for version, one in sorted(versions.items()):
        if one.calls[1] / after < NEW_SHARE or one.calls[0] / before > OLD_SHARE:
            continue
        others = [other for name, other in versions.items() if name != version and other.calls[0]]
        usual = sum(other.mean_us[0] * other.calls[0] for other in others) / max(
            sum(other.calls[0] for other in others), 1.0
        )
        if usual and one.mean_us[1] >= usual * limits.sure_ratio:
            many = f"{one.calls[1] / after:.0%} of its calls"
            return f"version {version} came ({many}) and takes {one.mean_us[1] / usual:.2f} times as long"
    return None


def load_of(service: str, rollups: StoredRollups, window: Window) -> Load | None:
    """Whether a service got clearly more calls, and got them before it became slower; None = it did not."""
    series = [
        number
        for number, one in enumerate(rollups.keys.series)
        if one.destination == service and (one.side == "callee" or not _told_inside(rollups, service))
    ]
    if not series:
        return None
    chosen = np.array(series, np.int64)
    length = (window.until - window.since) // MINUTE_S
    of = grid(len(rollups.keys.series), window.since, length, [rollups.sums(window.since, window.until, chosen)])
    split = (window.begin - window.since) // MINUTE_S
    requests = of.requests[chosen]
    total = requests.sum(axis=0)
    # The last quarter of an hour before, without the minutes in which it may have begun already.
    usual = float(np.median(total[: max(split - 10, 1)]))
    now = float(np.median(total[split:]))
    if usual <= 0 or now < SURGE * usual:
        return None
    first = _first_above(total, (usual + now) / 2, max(split - 10, 0))
    if first is None or first > split:
        return None
    lead = split - first
    growth = requests[:, split:].mean(axis=1) - requests[:, : max(split - 10, 1)].mean(axis=1)
    caller = rollups.keys.series[series[int(growth.argmax())]].source
    when = f"{lead} min earlier" if lead >= FIRST_MIN else "in the same minute"
    return Load(caller, f"{now:.0f} calls a minute, {usual:.0f} before, {when}, most of them from {caller}")


def _told_inside(rollups: StoredRollups, service: str) -> bool:
    return any(one.destination == service and one.side == "callee" for one in rollups.keys.series)


def _first_above(values: Floats, middle: float, start: int) -> int | None:
    """The first of two minutes in a row above `middle`, from `start` on."""
    above = values >= middle
    return next((at for at in range(start, len(values) - 1) if above[at] and above[at + 1]), None)
