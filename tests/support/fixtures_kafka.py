"""The fixture `kafka`: one broker for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kafka_broker import KafkaBroker, kafka_broker, missing
from tests.support.require import require


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A real Kafka broker: `.bootstrap`, `.topic(partitions=1)`, `.restart()`."""
    why = missing()
    require("kafka", not why, why)
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
