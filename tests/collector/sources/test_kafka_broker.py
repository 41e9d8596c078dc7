"""The broker that the other tests rely on is real: it keeps messages over a restart."""

from __future__ import annotations

import pytest

from tests.support.feed import produce
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.kafka


def test_messages_survive_a_kill(kafka: KafkaBroker) -> None:
    if kafka.external:
        pytest.skip("kafka: the broker is not ours to kill")
    topic = kafka.topic(partitions=2)
    assert produce(kafka.bootstrap, topic, [b"a", b"b"]) == 2
    kafka.restart(kill=True)
    assert produce(kafka.bootstrap, topic, [b"c"]) == 1
