"""What happens to telemetry between the mesh and whoever reads it: seeded degradations of a world's messages.

World.messages ──► sampled, lossy, one-sided, skewed, shuffled, repeated, ... ──► the pipeline

Each function takes messages in order of time and gives messages: wire bytes in, wire bytes out. Which records are
dropped or moved follows from the seed and the records themselves, so a record meets the same fate in every run.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from eastwatch.world.shipping import Message
from eastwatch.world.world import ACCESS_LOGS, TRACES

Messages = Iterable[Message]
Side = Literal["caller", "callee"]

# Inside Fluent Bit's record the line is a JSON text: its quotes are escaped.
_STARTED = re.compile(rb'(start_time\\?":\\?")([0-9T:.-]+)Z')
_INBOUND = re.compile(rb'upstream_cluster\\?":\\?"inbound\|')


def topics(messages: Messages, kept: Iterable[str]) -> Iterator[Message]:
    """Only messages of these topics."""
    wanted = frozenset(kept)
    return (message for message in messages if message.topic in wanted)


def head_sampled(messages: Messages, share: float, seed: int) -> Iterator[Message]:
    """Each trace is kept whole with probability `share`, or not at all, as decided where it begins."""
    return _spans(messages, lambda trace, _: _fraction(seed, trace) < share)


def spans_lost(messages: Messages, share: float, seed: int) -> Iterator[Message]:
    """Each span is lost with probability `share`, whatever happens to the others of its trace."""
    return _spans(messages, lambda trace, span: _fraction(seed, trace + span) >= share)


def one_side(messages: Messages, missing: Side, seed: int = 0) -> Iterator[Message]:
    """No access-log lines of the callers' proxies (gateways among them), or none of the callees'; no seed matters."""
    del seed

    def kept(line: bytes) -> bool:
        return (_INBOUND.search(line) is None) == (missing == "callee")

    return _lines(messages, lambda line: line if kept(line) else None)


def skewed(messages: Messages, skew: timedelta, seed: int) -> Iterator[Message]:
    """The clocks of a third of the pods are early by `skew`, those of another third late."""

    def shift_of(pod: bytes) -> timedelta:
        return skew * (int(_fraction(seed, pod) * 3) - 1)

    for message in messages:
        if message.topic == ACCESS_LOGS:
            shift = shift_of(message.key)
            value = _STARTED.sub(lambda found, by=shift: found[1] + _moved(found[2], by) + b"Z", message.value)
            yield replace(message, value=value)
        elif message.topic == TRACES:
            request = ExportTraceServiceRequest.FromString(message.value)
            for resource in request.resource_spans:
                shift_ns = int(shift_of(_pod_name(resource.resource)).total_seconds() * 1e9)
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        span.start_time_unix_nano += shift_ns
                        span.end_time_unix_nano += shift_ns
            yield replace(message, value=request.SerializeToString())
        else:
            yield message


def readdressed(messages: Messages, moves: Mapping[str, str], since_us: int) -> Iterator[Message]:
    """Access-log lines about what begins at `since_us` (microseconds since 1970) or later have other addresses.

    `moves` says which address becomes which, all at once.
    """
    moment = datetime.fromtimestamp(since_us / 1e6, UTC)

    def line_of(line: bytes) -> bytes:
        started = _STARTED.search(line)
        return replaced(line, moves) if started and _time(started[2]) >= moment else line

    return _lines(messages, line_of)


def replaced(text: bytes, moves: Mapping[str, str]) -> bytes:
    """`text` with every address that is a key of `moves` as its value."""
    any_of = b"|".join(re.escape(old.encode()) for old in moves)
    table = {old.encode(): new.encode() for old, new in moves.items()}
    return re.sub(rb"(?<![\d.])(?:" + any_of + rb")(?![\d.])", lambda found: table[found[0]], text)


def shuffled(messages: Messages, within: int, seed: int) -> Iterator[Message]:
    """Messages arrive in any order, each at most about `within` places from where it belongs."""
    order = random.Random(seed)
    places = ((place + order.uniform(0, within), place, message) for place, message in enumerate(messages))
    yield from (message for _, _, message in sorted(places, key=lambda placed: placed[:2]))


def repeated(messages: Messages, share: float, seed: int) -> Iterator[Message]:
    """Each message is sent a second time with probability `share`, as a producer without idempotence does."""
    chance = random.Random(seed)
    for message in messages:
        yield message
        if chance.random() < share:
            yield message


def _lines(messages: Messages, change: Callable[[bytes], bytes | None]) -> Iterator[Message]:
    """Access-log lines changed one by one; None drops one."""
    for message in messages:
        if message.topic != ACCESS_LOGS:
            yield message
            continue
        lines = [changed for line in message.value.splitlines() if (changed := change(line)) is not None]
        if lines:
            yield replace(message, value=b"\n".join(lines) + b"\n")


def _spans(messages: Messages, kept: Callable[[bytes, bytes], bool]) -> Iterator[Message]:
    """Messages with the spans for whose trace id and span id `kept` is true."""
    for message in messages:
        if message.topic != TRACES:
            yield message
            continue
        request = ExportTraceServiceRequest.FromString(message.value)
        some = False
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                left = [span for span in scope.spans if kept(span.trace_id, span.span_id)]
                some = some or bool(left)
                if len(left) < len(scope.spans):
                    del scope.spans[:]
                    scope.spans.extend(left)
        if some:
            yield replace(message, value=request.SerializeToString())


def _pod_name(resource: Resource) -> bytes:
    return next((item.value.string_value.encode() for item in resource.attributes if item.key == "k8s.pod.name"), b"")


def _fraction(seed: int, key: bytes) -> float:
    """A number in [0, 1) that only `seed` and `key` decide."""
    salt = (seed % 2**64).to_bytes(8, "big")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=salt).digest(), "big") / 2**64


def _time(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)


def _moved(text: bytes, by: timedelta) -> bytes:
    return (_time(text) + by).replace(tzinfo=None).isoformat(timespec="milliseconds").encode()
