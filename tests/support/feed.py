"""Messages into Kafka topics and OTLP/HTTP receivers, for tests."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable

from kafka import KafkaProducer


def produce(bootstrap: str, topic: str, values: Iterable[bytes]) -> int:
    """Send each value as one message to `topic`, wait until the broker has them all, and return how many there were."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)
    try:
        sent = [producer.send(topic, value) for value in values]
        for future in sent:
            future.get(timeout=60)
    finally:
        producer.close(timeout=10)
    return len(sent)


def post_otlp(port: int, bodies: Iterable[bytes], path: str = "/v1/traces") -> None:
    """POST OTLP protobuf requests over one connection; every answer must be 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for body in bodies:
            connection.request("POST", path, body=body, headers={"content-type": "application/x-protobuf"})
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise AssertionError(f"OTLP receiver answered {response.status}: {answer[:300]!r}")
    finally:
        connection.close()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """True when something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
