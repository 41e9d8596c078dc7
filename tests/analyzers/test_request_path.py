"""The path of one request: both sides as one hop, the tree from the gateway, who failed, what a hostile id finds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.dependencies.render.path import to_path
from analyzers.dependencies.request_path import Hop, RequestPath, Sighting, hops_of
from analyzers.dependencies.request_sightings import request_path
from storage.engine import Engine
from tests.analyzers.records import T0, call, insert_calls, insert_spans, span

ID = "7feeda0a-3f6e-4000-8000-000000000017"
TRACE = f"{1:032x}"


def seen(reporter: str, source: str, destination: str, start_ms: float, for_ms: float, **fields: Any) -> Sighting:
    at = T0 + timedelta(milliseconds=start_ms)
    known: dict[str, Any] = {"evidence": "log", "fault": "none", "status": 200, **fields}
    return Sighting(
        reporter=reporter, source=source, destination=destination, at=at, duration_us=int(for_ms * 1000), **known
    )


def shape(hops: Sequence[Hop]) -> list[tuple[int, str, str, int]]:
    """(place of the parent or -1, source, destination, sightings) of each hop."""
    place = {id(hop): number for number, hop in enumerate(hops)}
    return [(place.get(id(hop.parent), -1), hop.source, hop.destination, len(hop.sightings)) for hop in hops]


NORTH_SOUTH = [
    seen("gateway", "gw", "web", 0, 100, direction="ingress"),
    seen("destination", "gw", "web", 1, 98),
    seen("source", "web", "orders", 10, 30),
    seen("destination", "web", "orders", 11, 28),
    seen("source", "orders", "db", 15, 5),
    seen("source", "web", "cart", 50, 30),
    seen("destination", "unknown", "cart", 51, 28),
]
EXPECTED = [(-1, "gw", "web", 2), (0, "web", "orders", 2), (1, "orders", "db", 1), (0, "web", "cart", 2)]


@settings(max_examples=50, deadline=None)
@given(st.permutations(NORTH_SOUTH))
def test_the_order_of_arrival_changes_nothing(order: list[Sighting]) -> None:
    assert shape(hops_of(order)) == EXPECTED


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(("gw", "web", "orders", "cart"), st.integers(-5000, 5000))))
def test_clocks_that_differ_keep_the_hops_and_their_parents(skew_ms: dict[str, int]) -> None:
    """Each proxy has a clock of its own; what calls what is known by names."""
    moved = [
        Sighting(**{**_fields(one), "at": one.at + timedelta(milliseconds=skew_ms[_own(one)])}) for one in NORTH_SOUTH
    ]
    assert sorted(hop[1:] for hop in shape(hops_of(moved))) == sorted(hop[1:] for hop in EXPECTED)


def _own(one: Sighting) -> str:
    return one.destination if one.reporter == "destination" else one.source


def _fields(one: Sighting) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


SIGHTING = st.builds(
    seen,
    st.sampled_from(["source", "destination", "gateway", "waypoint", "unknown"]),
    *[st.sampled_from(["a", "b", "c", "unknown"])] * 2,
    st.integers(0, 50),
    st.integers(0, 30),
    evidence=st.sampled_from(["log", "trace", "flow"]),
    fault=st.sampled_from(["", "none", "caller", "callee", "mesh", "network", "unknown"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SIGHTING, max_size=14))
def test_every_sighting_is_on_one_hop_and_every_hop_once_behind_its_parent(sightings: list[Sighting]) -> None:
    hops = hops_of(sightings)
    on_hops = [id(one) for hop in hops for one in hop.sightings]
    assert len(on_hops) == len(set(on_hops))
    # Spans and lines of no known side, too: nothing is lost and nothing is made up.
    known = [
        one for one in sightings if one.evidence != "trace" or one.reporter in ("source", "gateway", "destination")
    ]
    assert set(on_hops) == {id(one) for one in known}
    assert all(parent < place for place, (parent, *_) in enumerate(shape(hops)))
    for hop in hops:
        assert hop.fault is None or hop.fault in {one.fault for one in hop.sightings}


@pytest.mark.parametrize(
    ("caller", "callees", "fault", "contradiction"),
    [
        # The caller sees 503, and the callee's proxy that its own application closed the connection.
        ({"status": 503, "fault": "unknown"}, [{"status": 503, "flags": "UC", "fault": "callee"}], "callee", False),
        # A refusal by the callee's proxy looks like the caller's fault from afar.
        ({"status": 403, "fault": "caller"}, [{"status": 403, "fault": "mesh", "verdict": "denied"}], "mesh", True),
        # The caller waited too long and left: why, only its own proxy knows.
        (
            {"status": 504, "flags": "UT", "fault": "callee"},
            [{"status": 0, "flags": "DC", "fault": "caller"}],
            "callee",
            True,
        ),
        # The callee answered, but the answer was lost.
        ({"status": 503, "flags": "UC", "fault": "callee"}, [{}], "callee", False),
        # It never came that far.
        ({"status": 503, "flags": "UF", "fault": "network"}, [], "network", False),
        # A retry made it good.
        ({}, [{"status": 503, "fault": "callee"}, {}], "none", False),
        ({"status": 503, "fault": "callee"}, [{"status": 503, "fault": "callee"}] * 2, "callee", False),
        (None, [{"status": 503, "fault": "callee"}], "callee", False),
        ({"fault": ""}, [], None, False),
    ],
)
def test_who_failed(
    caller: dict[str, Any] | None, callees: list[dict[str, Any]], fault: str | None, contradiction: bool
) -> None:
    sightings = [] if caller is None else [seen("source", "web", "orders", 0, 100, **caller)]
    sightings += [seen("destination", "web", "orders", 10 * n, 5, **one) for n, one in enumerate(callees)]
    (hop,) = hops_of(sightings)
    assert (hop.fault, hop.contradiction, len(hop.callees)) == (fault, contradiction, len(callees))


def test_calls_of_one_pair_one_after_another_stay_apart() -> None:
    found = hops_of(
        [
            seen("gateway", "gw", "web", 0, 100, direction="ingress"),
            *(seen("source", "web", "orders", at, 20) for at in (10, 40)),
            *(seen("destination", "web", "orders", at, 15) for at in (12, 42)),
            *(seen("source", "orders", "db", at, 5) for at in (15, 45)),
        ]
    )
    assert shape(found) == [
        (-1, "gw", "web", 1),
        (0, "web", "orders", 2),
        (1, "orders", "db", 1),
        (0, "web", "orders", 2),
        (3, "orders", "db", 1),
    ]


def logged(at_s: float, source: str, destination: str, reporter: str, **fields: Any) -> dict[str, Any]:
    sides = {"source_namespace": "shop", "source_service": source, "destination_namespace": "shop"}
    base = {
        "reporter": reporter,
        "direction": "east_west",
        "protocol": "http",
        "method": "GET",
        "path": f"/{destination}",
    }
    base |= {"status": 200, "duration_us": 5000, "fault": "none", "request_id": ID, "response_flags": "-"}
    return call(at_s, destination_service=destination, **sides, **{**base, **fields})


def test_a_stored_request_by_either_id(engine: Engine) -> None:
    failed = {"status": 503, "fault": "callee"}
    insert_calls(
        engine,
        [
            logged(0, "gw", "web", "gateway", direction="ingress", trace_id=TRACE, duration_us=90_000, **failed),
            logged(0.001, "gw", "web", "destination", trace_id=TRACE, duration_us=88_000, **failed),
            logged(0.010, "web", "orders", "source", duration_us=50_000, status=503, fault="unknown"),
            logged(0.011, "web", "orders", "destination", duration_us=48_000, response_flags="UC", **failed),
            logged(0.012, "web", "orders", "source", request_id="another"),
            logged(0.010, "web", "orders", "source", log_type="request_start"),
        ],
    )
    insert_spans(
        engine,
        [
            span(0.060, "a", "", "web", "client", namespace="shop"),
            span(0.061, "b", "a", "cart", "server", namespace="shop", duration_us=700),
        ],
    )
    found = request_path(engine, ID)
    assert [(hop.source, hop.destination, hop.evidence) for hop in found.hops] == [
        ("shop/gw", "shop/web", ["log"]),
        ("shop/web", "shop/orders", ["log"]),
        ("shop/web", "shop/cart", ["trace"]),
    ]
    assert found.failed is found.hops[1]
    document = found.to_document()
    assert (document["failed"], document["trace_ids"], document["request_ids"]) == (1, [TRACE], [ID])
    gateway, orders, cart = document["hops"]
    assert (gateway["parent"], orders["parent"], cart["parent"], gateway["direction"]) == (None, 0, 0, "ingress")
    assert (orders["fault"], orders["caller"]["flags"], orders["callees"][0]["flags"]) == ("callee", None, "UC")
    assert (gateway["duration_ms"], gateway["callees"][0]["duration_ms"], cart["duration_ms"]) == (90, 88, 1)
    assert (orders["path"], orders["status"]) == ("/orders", 503)
    for other in (TRACE, TRACE.lstrip("0").rjust(16, "0")):
        assert request_path(engine, other).to_document()["hops"] == document["hops"]
    text = to_path(found)
    assert "└ shop/web → shop/orders" in text
    assert "failed first: shop/web → shop/orders, by the callee" in text


@pytest.mark.parametrize(
    "hostile", ["", "' OR 1=1 --", "{ids:Array(String)}", "\\", "\x00", "x" * 5000, "0" * 32, "é\u202e"]
)
def test_no_id_finds_what_is_not_its_own(engine: Engine, hostile: str) -> None:
    insert_calls(engine, [logged(0, "web", "orders", "source")])
    found = request_path(engine, hostile)
    assert not found.hops
    assert to_path(found).startswith("nothing is stored of ")


def test_callers_known_by_address_only(engine: Engine) -> None:
    mapped = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 1))
    row = logged(0.001, "", "orders", "destination", source_ip=mapped, edge_id=0)
    insert_calls(engine, [row])
    assert [(hop.source, hop.destination) for hop in request_path(engine, ID).hops] == [("unknown", "shop/orders")]
    insert_calls(engine, [logged(0, "web", "orders", "source")])
    (hop,) = request_path(engine, ID).hops
    assert (hop.source, hop.destination, len(hop.callees)) == ("shop/web", "shop/orders", 1)


def test_names_in_the_text_cannot_steer_a_terminal() -> None:
    (hop,) = hops_of([seen("source", "a\x1b[31m", "b\u202e", 0, 1, path="/\x1b]0;x\x07", method="GET")])
    text = to_path(RequestPath("\x1b[2J", [hop]))
    assert "\x1b" not in text and "\u202e" not in text
