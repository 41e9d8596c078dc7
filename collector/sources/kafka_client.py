"""Connecting to Kafka, and what the client's errors mean for whoever runs eastwatch."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer
from kafka import errors as kafka_errors

from collector.errors import BadSource, CollectorError, SourceRefused, SourceUnavailable
from collector.sources.options import KafkaOptions
from collector.sources.urls import KafkaUrl

MAX_POLL_MESSAGES = 500_000
"""Messages of one poll of the client's own reader; the bytes of a fetch bound it before."""
LEAST_FETCH_BYTES = 1 << 16


def connect(url: KafkaUrl, kafka: KafkaOptions) -> KafkaConsumer:
    """A consumer for `url` that has reached a broker.

    Raises:
        SourceUnavailable: no broker answers.
        SourceRefused: the broker refuses user or password.
        BadSource: certificate files cannot be read.
    """
    configuration = _configuration(url, kafka)
    started = time.monotonic()
    with _warnings() as warnings:
        try:
            return KafkaConsumer(**configuration)
        except kafka_errors.KafkaTimeoutError:
            raise _unreachable(url, time.monotonic() - started, warnings) from None
        except kafka_errors.KafkaError as error:
            raise translated(error, url.label) from None


def join_to_the_end(consumer: KafkaConsumer) -> None:
    """Call before each poll: a join of the group that outlasted the one before is taken up again.

    kafka-python 3.0.12 forgets it when the reason was new metadata (a topic or partition that came): answering the
    join, it notes the metadata as dealt with, and the next poll finds no reason to look for the answer. The member then
    has no partition and sends no heartbeat, for ever.
    """
    coordinator = consumer._coordinator  # pyright: ignore[reportPrivateUsage]
    if coordinator.rejoining:
        coordinator.request_rejoin()


def fetch_share(fetch_bytes: int, brokers: int) -> int:
    """Bytes of a fetch from each of `brokers`, which answer at the same time."""
    return max(fetch_bytes // max(brokers, 1), LEAST_FETCH_BYTES)


def share_fetches(consumer: KafkaConsumer, kafka: KafkaOptions) -> None:
    """Size the next fetches so that those of all brokers together are `kafka.fetch_bytes`.

    The client has one under way with each broker that leads a partition it was assigned.
    """
    leader = consumer._cluster.leader_for_partition  # pyright: ignore[reportPrivateUsage]
    leaders = {leader(partition) for partition in consumer.assignment() or ()} - {None, -1}
    share = fetch_share(kafka.fetch_bytes, len(leaders))
    sizes = consumer._fetcher.config  # pyright: ignore[reportPrivateUsage]
    sizes["fetch_max_bytes"] = share
    sizes["max_partition_fetch_bytes"] = min(kafka.partition_fetch_bytes, share)


def _configuration(url: KafkaUrl, kafka: KafkaOptions) -> Mapping[str, Any]:
    try:
        context = _ssl_context(url)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error
        raise BadSource(f"{url.label}: certificate files: {why}, expected readable PEM files") from None
    return {
        "bootstrap_servers": list(url.bootstrap),
        "client_id": "eastwatch",
        "group_id": url.group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "exclude_internal_topics": True,
        "fetch_max_bytes": kafka.fetch_bytes,
        "max_partition_fetch_bytes": kafka.partition_fetch_bytes,
        "fetch_max_wait_ms": 200,
        "max_poll_records": MAX_POLL_MESSAGES,
        "session_timeout_ms": int(kafka.session_timeout_s * 1000),
        "heartbeat_interval_ms": int(kafka.session_timeout_s * 1000 / 4),
        "metadata_max_age_ms": int(kafka.metadata_refresh_s * 1000),
        "bootstrap_timeout_ms": int(kafka.connect_timeout_s * 1000),
        "reconnect_backoff_max_ms": 5000,
        "metrics_enabled": False,
        "security_protocol": url.security,
        "ssl_context": context,
        "sasl_mechanism": url.mechanism or None,
        "sasl_plain_username": url.user or None,
        "sasl_plain_password": url.password or None,
    }


def _ssl_context(url: KafkaUrl) -> ssl.SSLContext | None:
    if not url.security.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=url.ca or None)
    if not url.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if url.cert:
        context.load_cert_chain(url.cert, url.key or None)
    return context


@contextmanager
def _warnings() -> Generator[list[str]]:
    """What the client logs while the block runs: it retries whatever fails at first, and tells why only there."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("kafka")
    keep = Keep(logging.WARNING)
    logger.addHandler(keep)
    try:
        yield messages
    finally:
        logger.removeHandler(keep)


def _unreachable(url: KafkaUrl, waited_s: float, warnings: list[str]) -> CollectorError:
    for message in warnings:
        if "SaslAuthenticationFailed" in message or "UnsupportedSaslMechanism" in message:
            return SourceRefused(
                f"{url.label}: the broker refused user {url.user!r}, expected a user and password for {url.mechanism}"
            )
    if url.mechanism and any("connection to" in message and "socket disconnected" in message for message in warnings):
        # The client often hears the end of the connection before it reads why.
        return SourceRefused(
            f"{url.label}: the broker refused user {url.user!r}, or does not speak {url.security}: it ends the"
            f" connection at the login; expected a user and password for {url.mechanism}"
        )
    failures = [message for message in warnings if "failed" in message.lower()]
    last = f" (last: {failures[-1][:200]})" if failures else ""
    return SourceUnavailable(
        f"{url.label}: no broker answered within {waited_s:.0f} s, expected Kafka at {', '.join(url.bootstrap)}"
        f" speaking {url.security}{last}"
    )


def translated(error: kafka_errors.KafkaError, label: str) -> CollectorError:
    """What a client's error means for whoever runs eastwatch."""
    name = type(error).__name__
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError | kafka_errors.UnsupportedSaslMechanismError):
        return SourceRefused(f"{label}: the broker refused user or password ({error})")
    if isinstance(error, kafka_errors.AuthorizationError):
        return SourceRefused(f"{label}: the broker refused access ({name}: {error}), expected the right to read")
    if isinstance(error, kafka_errors.InvalidTopicError):
        return BadSource(f"{label}: the broker calls the topic's name invalid")
    return SourceUnavailable(f"{label}: {name}: {error}")
