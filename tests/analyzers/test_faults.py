"""Who failed: both sides' numbers put together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.dependencies.faults import PARTIES, SIDES, Counts, FaultsTold


@pytest.mark.parametrize(
    ("by_side", "expected"),
    [
        ({}, {}),
        ({"source": {}, "destination": {}}, {}),
        # The caller sees 503 without a flag, the callee's proxy UC: the application closed.
        ({"source": {"callee": 5}, "destination": {"callee": 5}}, {"callee_application": 5}),
        # Inbound, no connection to the upstream is an application that does not listen.
        ({"source": {"callee": 5}, "destination": {"network": 5}}, {"callee_application": 5}),
        (
            {"source": {"callee": 5}, "destination": {"mesh": 2, "callee": 1}},
            {"callee_application": 1, "callee_proxy": 2, "callee": 2},
        ),
        ({"source": {"callee": 5}}, {"callee": 5}),
        ({"source": {"network": 3, "mesh": 2}, "destination": {}}, {"caller_proxy": 2, "network": 3}),
        # Refused by the callee's policy: to the caller's proxy a 403 like any other.
        ({"source": {"caller": 4}, "destination": {"mesh": 3, "caller": 1}}, {"caller": 1, "callee_proxy": 3}),
        # Retries made good what else the callee's proxy tells of.
        ({"source": {"callee": 1}, "destination": {"callee": 9}}, {"callee_application": 1}),
        ({"source": {}, "destination": {"callee": 9, "mesh": 1}}, {}),
        ({"source": {"unknown": 2}, "destination": {"callee": 1}}, {"callee_application": 1, "unknown": 1}),
        (
            {"destination": {"callee": 2, "mesh": 1, "caller": 4, "unknown": 1}},
            {"caller": 4, "callee_proxy": 1, "callee_application": 2, "unknown": 1},
        ),
        ({"waypoint": {"mesh": 2, "callee": 1, "network": 1}}, {"network": 1, "waypoint": 2, "callee": 1}),
        ({"waypoint": {"callee": 2}, "destination": {"callee": 1}}, {"callee_application": 1, "callee": 1}),
    ],
)
def test_what_both_sides_say(by_side: dict[str, Counts], expected: Counts) -> None:
    first = next((side for side in ("source", "waypoint", "destination") if side in by_side), "")
    assert FaultsTold({first: by_side.get(first, {})}, by_side).failed_by() == expected


def test_hours_in_which_the_caller_is_silent() -> None:
    """What the callee's proxy told of these hours explains nothing in the others, and is no failure twice."""
    told = FaultsTold(
        {"source": {"callee": 3}, "destination": {"callee": 2, "caller": 1}},
        {"source": {"callee": 3}, "destination": {"callee": 3, "caller": 1}},
    )
    assert told.failed_by() == {"caller": 1, "callee_application": 3, "callee": 2}


FAULTS = st.dictionaries(st.sampled_from(["caller", "network", "callee", "mesh", "unknown"]), st.integers(1, 9))
BY_SIDE = st.dictionaries(st.sampled_from(SIDES), FAULTS)


@given(BY_SIDE, BY_SIDE)
def test_every_failure_that_was_met_is_put_down_once(met: dict[str, Counts], others: dict[str, Counts]) -> None:
    by_side = {side: Counter(met.get(side, {})) + Counter(others.get(side, {})) for side in met | others}
    found = FaultsTold(met, by_side).failed_by()
    assert sum(found.values()) == sum(sum(faults.values()) for faults in met.values())
    assert list(found) == [party for party in PARTIES if party in found]
    assert min(found.values(), default=1) > 0
