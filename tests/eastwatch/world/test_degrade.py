"""Degradations change what they say and nothing else, the same way every time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from eastwatch.world import ACCESS_LOGS, METRICS, START, TRACES, Message, World
from eastwatch.world.degrade import (
    head_sampled,
    one_side,
    readdressed,
    repeated,
    replaced,
    shuffled,
    skewed,
    spans_lost,
    topics,
)

STARTED = re.compile(rb'start_time\\?":\\?"[0-9-]+T10:(\d\d):(\d\d)\.(\d\d\d)Z')


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(World(7, START + timedelta(minutes=13), timedelta(minutes=2), 0.2).messages())


def spans(messages: Iterable[Message]) -> list[Span]:
    return [
        span
        for message in messages
        if message.topic == TRACES
        for resource in ExportTraceServiceRequest.FromString(message.value).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def lines(messages: Iterable[Message]) -> list[bytes]:
    return [line for message in messages if message.topic == ACCESS_LOGS for line in message.value.splitlines()]


def starts_ms(messages: Iterable[Message]) -> list[int]:
    parts = [found for line in lines(messages) for found in STARTED.findall(line)]
    return [int(minute) * 60_000 + int(second) * 1000 + int(ms) for minute, second, ms in parts]


def test_sampling_keeps_whole_traces(messages: list[Message]) -> None:
    whole = Counter(span.trace_id for span in spans(messages))
    kept = Counter(span.trace_id for span in spans(head_sampled(messages, 0.3, 1)))
    assert all(whole[trace] == count for trace, count in kept.items())
    assert 0.2 < len(kept) / len(whole) < 0.4
    assert len(spans(head_sampled(messages, 1.0, 1))) == len(spans(messages))


def test_spans_are_lost_one_by_one(messages: list[Message]) -> None:
    whole, left = spans(messages), spans(spans_lost(messages, 0.2, 1))
    assert 0.75 < len(left) / len(whole) < 0.85
    assert {span.span_id for span in left} < {span.span_id for span in whole}


def test_the_two_sides_are_all_lines(messages: list[Message]) -> None:
    callers, callees = lines(one_side(messages, "callee")), lines(one_side(messages, "caller"))
    assert callers
    assert callees
    assert Counter(callers) + Counter(callees) == Counter(lines(messages))


def test_clocks_go_wrong_by_pod(messages: list[Message]) -> None:
    moved = list(skewed(messages, timedelta(seconds=5), 1))
    apart = {after - before for before, after in zip(starts_ms(messages), starts_ms(moved), strict=True)}
    assert apart == {-5000, 0, 5000}
    before, after = spans(messages), spans(moved)
    assert {a.start_time_unix_nano - b.start_time_unix_nano for a, b in zip(after, before, strict=True)} == {
        -5 * 10**9,
        0,
        5 * 10**9,
    }


def test_addresses_move_at_their_time(messages: list[Message]) -> None:
    half_us = int((START + timedelta(minutes=14)).timestamp()) * 1_000_000
    moves = {"10.244.0.1": "10.244.9.9", "10.244.9.9": "10.244.0.1"}
    assert replaced(b"10.244.0.1:80 10.244.0.12 110.244.0.1 10.244.9.9", moves) == (
        b"10.244.9.9:80 10.244.0.12 110.244.0.1 10.244.0.1"
    )
    old = next(found for line in lines(messages) for found in re.findall(rb"10\.244\.\d+\.\d+", line)).decode()
    changed = list(readdressed(messages, {old: "10.244.250.1"}, half_us))
    for before, after in zip(lines(messages), lines(changed), strict=True):
        started = STARTED.search(before)
        assert started
        if int(started[1]) < 14:
            assert after == before
        else:
            assert after == replaced(before, {old: "10.244.250.1"})


def test_order_and_copies(messages: list[Message]) -> None:
    mixed = list(shuffled(messages, 20, 1))
    assert mixed != messages
    assert sorted(mixed, key=messages.index) == messages
    places = {id(message): place for place, message in enumerate(messages)}
    assert all(abs(places[id(message)] - place) <= 40 for place, message in enumerate(mixed))
    twice = list(repeated(messages, 0.2, 1))
    assert set(twice) == set(messages)
    assert 1.1 < len(twice) / len(messages) < 1.3


@pytest.mark.parametrize(
    "degrade",
    [
        partial(head_sampled, share=0.5, seed=2),
        partial(spans_lost, share=0.5, seed=2),
        partial(one_side, missing="caller"),
        partial(skewed, skew=timedelta(seconds=5), seed=2),
        partial(shuffled, within=9, seed=2),
        partial(repeated, share=0.5, seed=2),
    ],
)
def test_again_is_the_same_and_metrics_stay(
    messages: list[Message], degrade: Callable[[Iterable[Message]], Iterator[Message]]
) -> None:
    first, again = list(degrade(messages)), list(degrade(iter(messages)))
    assert first == again
    assert {m.value for m in topics(first, [METRICS])} == {m.value for m in topics(messages, [METRICS])}
