"""What is pushed over OTLP/HTTP, from the request to the rows and the answer."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collector.clock import SystemClock
from collector.decode.limits import Limits
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.sources.otlp_http import RequestLimits
from collector.sources.push import PushSource
from collector.sources.urls import OtlpUrl
from storage.engine import Engine
from tests.support.poll import poll

LINE = '{"ts":"2026-01-01T00:00:01Z","destination_service":"cart","request_id":"r","status":200}'


@contextmanager
def receiving(engine: Engine) -> Generator[tuple[int, Ingest]]:
    """An ingester behind a free port, stopped at the end; whatever ended it before is raised."""
    options, clock = IngestOptions(), SystemClock()
    source = PushSource(OtlpUrl("127.0.0.1", 0), clock, options, RequestLimits())
    loop = Ingest(engine, [source], DecoderCache(Limits()), options=options, clock=clock)
    errors: list[Exception] = []

    def run() -> None:
        try:
            loop.run()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield source.port, loop
    finally:
        loop.stop()
        thread.join(30)
        assert not thread.is_alive()
        if errors:
            raise errors[0]


def post(port: int, path: str, body: bytes | str, kind: str = "application/x-protobuf") -> tuple[int, bytes]:
    status, _, answer = send(port, path, body, kind)
    return status, answer


def send(
    port: int, path: str, body: bytes | str, kind: str = "application/x-protobuf", encoding: str = "identity"
) -> tuple[int, Any, bytes]:
    """Status, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, {"content-type": kind, "content-encoding": encoding})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def logs(*lines: str) -> bytes:
    records = [{"time_unix_nano": 1_767_225_600_000_000_000, "body": {"string_value": line}} for line in lines]
    resources: Any = [{"scope_logs": [{"log_records": records}]}]
    return ExportLogsServiceRequest(resource_logs=resources).SerializeToString()


def spans(*trace_ids: bytes) -> bytes:
    made = [
        {
            "trace_id": trace_id,
            "span_id": bytes([number + 1]) * 8,
            "name": "n",
            "start_time_unix_nano": 1_767_225_600_000_000_000,
            "end_time_unix_nano": 1_767_225_600_000_001_000,
        }
        for number, trace_id in enumerate(trace_ids)
    ]
    resources: Any = [{"scope_spans": [{"spans": made}]}]
    return ExportTraceServiceRequest(resource_spans=resources).SerializeToString()


def counted(engine: Engine) -> list[int]:
    """Rows of `calls`, `spans` and `dead_letters`."""
    tables = ("calls", "spans", "dead_letters")
    return [engine.query(f"SELECT count() AS n FROM {table}").to_pylist()[0]["n"] for table in tables]


def test_a_request_of_undecodable_records_is_answered_and_ends_nothing(engine: Engine) -> None:
    with receiving(engine) as (port, loop):
        status, body = post(port, "/v1/logs", logs(*["server started"] * 1500))
        assert status == 200
        told = ExportLogsServiceResponse.FromString(body).partial_success
        assert told.rejected_log_records == 1500
        assert "not recognised: looks like text" in told.error_message
        assert counted(engine) == [0, 0, 1500]
        # The ingester goes on, and a sender without fault hears of none.
        assert post(port, "/v1/logs", logs(LINE)) == (200, b"")
        assert counted(engine) == [1, 0, 1500]
    counts = loop.counters.snapshot()
    assert (counts.accepted, counts.stored, counts.dead_lettered, counts.refused) == (1501, 1, 1500, 0)


def test_each_sender_hears_of_its_own_records(engine: Engine) -> None:
    bodies: dict[str, tuple[str, bytes]] = {
        "two of three": ("/v1/logs", logs("x", LINE, "y")),
        "one of several lines": ("/v1/logs", logs("x\ny\nz")),
        "none": ("/v1/logs", logs(LINE)),
        "a span": ("/v1/traces", spans(b"\1" * 16, b"\0" * 16)),
    }
    answers: dict[str, tuple[int, bytes]] = {}
    with receiving(engine) as (port, _loop):

        def send(name: str) -> None:
            answers[name] = post(port, *bodies[name])

        # At once, so that they become one batch.
        senders = [threading.Thread(target=send, args=(name,)) for name in bodies]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert {status for status, _ in answers.values()} == {200}
    of_logs: Any = {name: ExportLogsServiceResponse.FromString(answers[name][1]).partial_success for name in bodies}
    assert of_logs["two of three"].rejected_log_records == 2
    assert of_logs["one of several lines"].rejected_log_records == 1
    assert answers["none"] == (200, b"")
    assert ExportTraceServiceResponse.FromString(answers["a span"][1]).partial_success.rejected_spans == 1
    assert counted(engine) == [2, 1, 6]


def test_a_partial_success_in_json(engine: Engine) -> None:
    point = {"asDouble": 1.0, "timeUnixNano": "1767225600000000000"}
    metrics = [{"name": "g", "gauge": {"dataPoints": [point, {"asDouble": 1.0}]}}]
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})
    with receiving(engine) as (port, _loop):
        status, answer = post(port, "/v1/metrics", body, "application/json")
    assert status == 200
    told = json.loads(answer)["partialSuccess"]
    assert told["rejectedDataPoints"] == "1"
    assert told["errorMessage"]


def test_more_bytes_than_the_memory_has_room_for_come_back_later() -> None:
    options = IngestOptions(memory_bytes=64 << 20)
    source = PushSource(OtlpUrl("127.0.0.1", 0), SystemClock(), options, RequestLimits(patience_s=0.1))
    large = logs(*[LINE + " " * 1_000_000] * 10)
    assert len(large) > options.waiting_bytes
    answers: list[int] = []

    def store_one() -> None:
        (cut,) = poll(lambda: source.poll(0.2, room=True), "a request", 30)
        source.stored(cut)

    # A request alone is let in however large it is; nothing beside it, as long as it waits.
    sender = threading.Thread(target=lambda: answers.append(post(source.port, "/v1/logs", large)[0]))
    sender.start()
    try:
        poll(lambda: source._size(), "the large one", 30)  # pyright: ignore[reportPrivateUsage]
        for body, encoding in ((logs(LINE), "identity"), (gzip.compress(logs(LINE)), "gzip")):
            status, headers, _ = send(source.port, "/v1/logs", body, encoding=encoding)
            assert (status, headers["retry-after"]) == (503, "2")
        store_one()
        sender.join(30)
        assert answers == [200]
        # Compressed ones count with what they inflate to, also where they say that it is less.
        half = logs(LINE + " " * (options.waiting_bytes // 2 + 1000))
        honest = gzip.compress(half)
        sender = threading.Thread(
            target=lambda: answers.append(send(source.port, "/v1/logs", honest, encoding="gzip")[0])
        )
        sender.start()
        poll(lambda: source._size(), "the compressed one", 30)  # pyright: ignore[reportPrivateUsage]
        for body in (honest, honest + gzip.compress(b"")):
            assert send(source.port, "/v1/logs", body, encoding="gzip")[0] == 503
        store_one()
        sender.join(30)
        assert answers == [200, 200]
    finally:
        source.close()
        sender.join(30)
