"""Addresses learnt from telemetry: intervals, contradictions, the inventory's word, and nothing written twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from collector.identity.learn import learn_addresses
from collector.inventory.aliases import Alias
from collector.inventory.load import alias_batch
from storage.conform import conform
from storage.engine import Engine
from storage.tables import ALIASES, SIGHTINGS

DAY = datetime(2026, 3, 2, tzinfo=UTC)
NOW = DAY + timedelta(days=30)
X = "10.0.0.9"


def at(hours: float) -> datetime:
    return DAY + timedelta(hours=hours)


def sight(engine: Engine, *seen: tuple[float, float, str], told_by: str = "pod", address: str = X, **more: str) -> None:
    """Sightings (first hour, last hour, pod) of workload `POD's first letter` in namespace shop."""
    rows: list[dict[str, Any]] = []
    for first, last, pod in seen:
        for hour in range(int(first), int(last) + 1):
            rows.append(
                {
                    "hour": at(hour),
                    "address": bytes(10) + b"\xff\xff" + bytes(map(int, address.split("."))),
                    "told_by": told_by,
                    "namespace": "shop",
                    "workload": pod[0] if told_by != "caller" else "",
                    "service": pod[0] if told_by == "caller" else "",
                    "pod": pod if told_by != "caller" else "",
                    "first_ts": max(at(first), at(hour)),
                    "last_ts": min(at(last), at(hour + 1) - timedelta(microseconds=1)),
                    **more,
                }
            )
    engine.insert("address_sightings", conform(SIGHTINGS, pa.RecordBatch.from_pylist(rows), received_on=DAY.date()))


def claim(engine: Engine, start: float, end: float | None, pod: str, loaded: datetime = NOW) -> None:
    micros = [int(at(hour).timestamp() * 1e6) for hour in (start, end if end is not None else 1e5)]
    row = Alias("pod_ip", "", X, micros[0], micros[1], "shop", workload=pod[0], pod=pod)
    engine.insert(ALIASES.name, alias_batch([row], "", loaded))


def learnt(engine: Engine, now: datetime = NOW) -> list[tuple[float, float, str]]:
    """(from, to, pod or service) in hours, of the telemetry's aliases of X."""
    learn_addresses(engine, now)
    rows = engine.query(
        "SELECT valid_from, valid_to, if(pod = '', service, pod) AS who FROM aliases FINAL"
        " WHERE evidence = 'telemetry' AND valid_from < valid_to AND name = {name:String} ORDER BY valid_from",
        {"name": X},
    ).to_pylist()
    return [
        (*((row[end] - DAY).total_seconds() / 3600 for end in ("valid_from", "valid_to")), row["who"]) for row in rows
    ]


def test_an_owner_holds_an_hour_before_and_after_it_was_seen(engine: Engine) -> None:
    sight(engine, (10.2, 12.5, "a-0"))
    assert learnt(engine) == [(9, 14, "a-0")]


def test_an_address_that_moves_does_not_rewrite_the_past(engine: Engine) -> None:
    sight(engine, (10.2, 12.5, "a-0"))
    before = learnt(engine)
    sight(engine, (12.75, 13.5, "b-0"))
    assert before == [(9, 14, "a-0")]
    assert learnt(engine, NOW + timedelta(hours=1)) == [(9, 12.75, "a-0"), (12.75, 15, "b-0")]
    sight(engine, (20.5, 20.5, "a-0"))
    assert learnt(engine, NOW + timedelta(hours=2))[1:] == [(12.75, 15, "b-0"), (19, 22, "a-0")]


def test_a_long_silence_belongs_to_nobody(engine: Engine) -> None:
    sight(engine, (1.5, 1.5, "a-0"), (9.5, 9.5, "a-0"))
    assert learnt(engine) == [(0, 3, "a-0"), (8, 11, "a-0")]


def test_order_of_arrival_plays_no_part(engine: Engine) -> None:
    sight(engine, (12.75, 13.5, "b-0"))
    learn_addresses(engine, NOW)
    sight(engine, (10.2, 12.5, "a-0"))
    assert learnt(engine, NOW + timedelta(hours=1)) == [(9, 12.75, "a-0"), (12.75, 15, "b-0")]


def test_who_contradict_each_other_are_both_nobody(engine: Engine) -> None:
    """Pods of the host's network share its address."""
    sight(engine, (8.5, 9.9, "a-0"), (10.1, 10.6, "a-0"), (10.5, 10.9, "b-0"), (11.5, 11.6, "b-0"))
    assert learnt(engine) == [(7, 10, "a-0"), (11, 13, "b-0")]


def test_replicas_of_one_workload_do_not_contradict_each_other(engine: Engine) -> None:
    sight(engine, (10.1, 10.6, "a-0"), (10.5, 10.9, "a-1"))
    assert learnt(engine) == [(9, 10.5, "a-0"), (10.5, 12, "a-1")]


def test_the_best_witness_is_heard(engine: Engine) -> None:
    sight(engine, (10.1, 10.6, "b-0"), told_by="caller")
    sight(engine, (10.1, 10.6, "c-0"), told_by="span")
    assert learnt(engine) == [(9, 12, "b")]
    sight(engine, (10.1, 10.6, "a-0"))
    assert learnt(engine, NOW + timedelta(hours=1)) == [(9, 12, "a-0")]


def test_an_address_that_several_accounts_call_from_is_nobodys(engine: Engine) -> None:
    """The address of a node in front of its pods, or of a gateway between networks: one after the other is no proof."""
    one, other = {"pod": "", "service_account": "a"}, {"pod": "", "workload": "b", "service_account": "b"}
    sight(engine, (8.2, 8.3, "a"), (10.1, 10.2, "a"), (10.6, 10.7, "a"), told_by="peer", **one)
    assert [(row[0], row[1]) for row in learnt(engine)] == [(7, 12)]
    sight(engine, (10.4, 10.5, "b"), told_by="peer", **other)
    assert [(row[0], row[1]) for row in learnt(engine, NOW + timedelta(hours=1))] == [(7, 10)]
    # A pod that says whose the address is, is heard before certificates that came from there.
    sight(engine, (10.1, 10.6, "p-0"))
    assert learnt(engine, NOW + timedelta(hours=2))[-1] == (10, 12, "p-0")


def test_the_inventory_stands(engine: Engine) -> None:
    sight(engine, (10.2, 12.5, "b-0"))
    assert learnt(engine) == [(9, 14, "b-0")]
    claim(engine, 0, None, "a-0")
    assert learnt(engine, NOW + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (11, None, [(9, 11, "b-0")]),
        (11, 12, [(9, 11, "b-0"), (12, 14, "b-0")]),
        (8, 11, [(11, 14, "b-0")]),
        (9.5, 10, [(10, 14, "b-0")]),
        (13, None, [(9, 13, "b-0")]),
        (20, None, [(9, 14, "b-0")]),
    ],
)
def test_what_the_inventory_never_knew(
    engine: Engine, start: float, end: float | None, expected: list[tuple[float, float, str]]
) -> None:
    sight(engine, (10.2, 12.5, "b-0"))
    claim(engine, start, end, "a-0")
    assert learnt(engine) == expected


def test_a_pod_that_came_after_the_load_ends_what_was_loaded(engine: Engine) -> None:
    claim(engine, 0, None, "a-0", loaded=at(6))
    sight(engine, (5.2, 5.5, "b-0"), (5.6, 6.5, "a-0"), (10.2, 12.5, "b-0"))
    assert learnt(engine) == [(10.2, 14, "b-0")]
    # Neither a span, which can say what it likes, nor a caller ends it.
    engine.execute("TRUNCATE TABLE address_sightings")
    sight(engine, (10.2, 12.5, "c-0"), told_by="span")
    sight(engine, (10.2, 12.5, "d-0"), told_by="caller")
    assert (10.2, 14, "c-0") not in learnt(engine, NOW + timedelta(hours=1))


def test_nothing_new_writes_nothing(engine: Engine) -> None:
    sight(engine, (10.2, 12.5, "a-0"), (12.75, 13.5, "b-0"), (13.6, 13.7, "c-0"))
    claim(engine, 13, 13.2, "a-0")
    learn_addresses(engine, NOW)
    first = engine.query("SELECT count() AS n, max(loaded_at) AS at FROM aliases").to_pylist()
    learn_addresses(engine, NOW + timedelta(hours=1))
    assert engine.query("SELECT count() AS n, max(loaded_at) AS at FROM aliases").to_pylist() == first
