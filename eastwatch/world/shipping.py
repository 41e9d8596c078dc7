"""How records leave their pods: collected by window of time, sent as one message with many records.

A shipper sends when its window closes, so a message's time is the end of its window and messages come in order of time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Generic, TypeVar

from eastwatch.world.access_log import Lines
from eastwatch.world.cluster import Cluster, Pod

Record = TypeVar("Record", str, bytes)

LOG_WINDOW_US = 10_000_000
SPAN_WINDOW_US = 5_000_000
MESSAGE_BYTES = 500_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a broker would hold it. `ts_us`: when it was sent, microseconds since 1970."""

    topic: str
    key: bytes
    value: bytes
    ts_us: int


def packed(topic: str, parts: Iterable[bytes], ts_us: int) -> Iterator[Message]:
    """Parts of one protobuf message, joined into as few messages as the limit of size allows.

    A broker refuses messages over a megabyte by default.
    """
    joined: list[bytes] = []
    size = 0
    for part in parts:
        if joined and size + len(part) > MESSAGE_BYTES:
            yield Message(topic, b"", b"".join(joined), ts_us)
            joined, size = [], 0
        joined.append(part)
        size += len(part)
    if joined:
        yield Message(topic, b"", b"".join(joined), ts_us)


class Windows(Generic[Record]):
    """Records per pod and window of `window_us`. With `staggered`, pods do not all send at the same moment."""

    def __init__(self, window_us: int, staggered: bool = True) -> None:
        self._window_us = window_us
        self._step_us = 137_000 if staggered else 0
        self._open: dict[tuple[int, int], list[tuple[int, Record]]] = defaultdict(list)

    def add(self, pods: Iterable[int], written_us: Iterable[int], records: Iterable[Record]) -> None:
        """Put records where they belong; each is written at its time by its pod."""
        window_us, step_us, pending = self._window_us, self._step_us, self._open
        for pod, at_us, record in zip(pods, written_us, records, strict=True):
            shift_us = pod * step_us % window_us
            closes_us = ((at_us - shift_us) // window_us + 1) * window_us + shift_us
            pending[closes_us, pod].append((at_us, record))

    def close(self, until_us: int | None) -> Iterator[tuple[int, int, list[tuple[int, Record]]]]:
        """Windows that end at or before `until_us` (None = all), as (end, pod, records with times in order)."""
        due = sorted(key for key in self._open if until_us is None or key[0] <= until_us)
        for closes_us, pod in due:
            records = self._open.pop((closes_us, pod))
            records.sort(key=lambda record: record[0])
            yield closes_us, pod, records


class LogShipper:
    """Ships access-log lines: in Fluent Bit's records with Kubernetes metadata, or plain, as the pod is set up."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._pods = cluster.pods
        self._topic = topic
        self._windows: Windows[str] = Windows(LOG_WINDOW_US)
        self._metadata = [_fluent_bit_metadata(pod) for pod in cluster.pods]

    def add(self, lines: Lines) -> None:
        """Take lines, in any order."""
        self._windows.add(lines.pod.tolist(), lines.written_us.tolist(), lines.text)

    def ship(self, until_us: int | None) -> Iterator[Message]:
        """Messages due by `until_us` (None = all that is left), in order of time."""
        for closes_us, index, records in self._windows.close(until_us):
            pod = self._pods[index]
            if pod.service.shipper == "plain":
                body = "\n".join(line for _, line in records)
            else:
                head, tail = '"stream":"stdout","logtag":"F","log":', self._metadata[index]
                body = "\n".join(
                    f'{{"date":{at_us / 1e6:.6f},{head}{encode_basestring_ascii(line)},{tail}}}'
                    for at_us, line in records
                )
            yield Message(self._topic, pod.name.encode(), body.encode() + b"\n", closes_us)


def _fluent_bit_metadata(pod: Pod) -> str:
    kubernetes = {
        "pod_name": pod.name,
        "namespace_name": pod.service.namespace,
        "pod_id": pod.uid,
        "labels": pod.labels,
        "host": pod.node,
        "pod_ip": pod.address,
        "container_name": "istio-proxy",
        "container_image": "registry.example/proxyv2:1.28.0",
    }
    return f'"kubernetes":{json.dumps(kubernetes, separators=(",", ":"))}'
