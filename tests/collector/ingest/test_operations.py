"""Learnt operations in the ingest loop: versions stand with the bounds, replays name as before, floods are bounded."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from collector.clock import SystemClock
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.decoders import DecoderCache
from collector.ingest.operations import OperationBooks, learn_operations, newest, publish, read_book
from collector.ingest.run import Ingest
from collector.operations.options import OperationOptions, OperationRule
from collector.operations.rules import Rule
from collector.sources.memory import MemorySource
from storage.engine import Engine
from tests.collector.ingest.test_loop import batch, call

NOW = datetime(2026, 3, 2, tzinfo=UTC)
FEW = OperationOptions(max_values=3)


def ingest(engine: Engine, *batches: Batch, options: OperationOptions = FEW) -> None:
    Ingest(
        engine,
        [MemorySource("memory", batches, "calls_json", replayable=True)],
        DecoderCache(Limits()),
        operations=options,
        patient=False,
    ).run()


def paths(texts: Iterable[str], first: int = 0) -> Batch:
    return batch((call(first + place, path=text) for place, text in enumerate(texts)), first=first)


def operations(engine: Engine, table: str = "calls") -> list[str]:
    found = engine.query(f"SELECT DISTINCT operation FROM {table} WHERE operation != '' ORDER BY operation")
    return found.column("operation").to_pylist()


def test_what_one_batch_taught_names_the_next(engine: Engine) -> None:
    ingest(engine, paths(["/u/ann", "/u/bob"]), paths(["/u/cyd", "/u/dee/x"], 2))
    assert operations(engine) == ["GET /u/ann", "GET /u/bob", "GET /u/cyd", "GET /u/dee/x"]
    assert learn_operations(engine, NOW) == 1
    assert learn_operations(engine, NOW) == 0
    ingest(engine, paths(["/u/eve", "/u/ann/x"], 4))
    assert operations(engine)[-2:] == ["GET /u/{id}", "GET /u/{id}/x"]
    assert read_book(engine, newest(engine)).learnt == {("shop", "cart"): {"/u"}}


def test_a_replay_is_named_as_it_was_the_first_time(engine: Engine) -> None:
    texts = ["/u/ann", "/u/bob", "/u/cyd"]
    ingest(engine, paths(texts))
    before = operations(engine)
    ingest(engine, paths([*texts[:1], "/u/dee"], 3))
    assert learn_operations(engine, NOW) == 1
    # The rows of the first batch are lost, its bounds are not: a crash in between.
    engine.execute("ALTER TABLE calls DELETE WHERE offset < 3", settings={"mutations_sync": 2})
    engine.execute("TRUNCATE TABLE edge_keys")
    state = engine.query("SELECT state FROM ingest_positions WHERE first = 0").column("state")[0].as_py()
    assert read_book(engine, int(state)).learnt == {}
    engine.execute("ALTER TABLE calls MODIFY SETTING non_replicated_deduplication_window = 0")
    try:
        ingest(engine, paths(texts), options=OperationOptions(max_values=1))
    finally:
        engine.execute("ALTER TABLE calls MODIFY SETTING non_replicated_deduplication_window = 100000")
    found = engine.query("SELECT operation FROM calls WHERE offset < 3 ORDER BY offset").column("operation").to_pylist()
    assert found == before


def test_rules_and_limits_are_versions_too(engine: Engine) -> None:
    rules = [OperationRule(service="shop/cart", template="/cart/{name}")]
    publish(engine, OperationOptions(rules=rules), NOW)
    publish(engine, OperationOptions(rules=rules), NOW)
    assert newest(engine) == 1
    publish(engine, OperationOptions(max_values=7), NOW)
    assert read_book(engine, 1).rules == (Rule("shop/cart", "/cart/{name}"),)
    assert (read_book(engine, 2).rules, read_book(engine, 2).max_values) == ((), 7)
    books = OperationBooks(engine, SystemClock(), 1000)
    assert books.current().version == 2
    assert books.of("1").rules
    assert books.of("") == read_book(engine, 0)
    assert books.of("of another release").version == 2
    ingest(engine, paths(["/cart/ann"]), options=OperationOptions(rules=rules))
    assert operations(engine) == ["GET /cart/{name}"]


def test_of_two_writers_of_a_version_the_first_wins(engine: Engine) -> None:
    for name in ("ann", "bob", "cyd", "dee"):
        ingest(engine, paths([f"/u/{name}"], ord(name[0])))
    assert learn_operations(engine, NOW) == 1
    again = engine.query("SELECT count() AS n FROM operations").column("n")[0].as_py()
    publish(engine, FEW, NOW)
    assert engine.query("SELECT count() AS n FROM operations").column("n")[0].as_py() == again


def test_a_flood_of_paths_ends_in_few_operations(engine: Engine) -> None:
    chance = random.Random(3)

    def flood(first: int) -> Batch:
        words = ("".join(chance.choices("abcdefghij", k=9)) for _ in range(400))
        return paths([f"/{word}/{chance.choice('abc')}" for word in words], first)

    ingest(engine, *(flood(400 * place) for place in range(3)), options=OperationOptions())
    learn_operations(engine, NOW)
    ingest(engine, *(flood(1200 + 400 * place) for place in range(3)), options=OperationOptions())
    assert operations(engine, "edge_keys") == ["GET /{id}/a", "GET /{id}/b", "GET /{id}/c"]


def test_slow_floods_are_learnt(engine: Engine) -> None:
    """Few new words in each batch, so that no batch by itself has too many."""
    for place in range(4):
        ingest(engine, paths([f"/w{'abcdefgh'[place]}x", f"/w{'abcdefgh'[place]}y"], 2 * place))
        learn_operations(engine, NOW)
    assert operations(engine)[-1] == "GET /{id}"
    assert len(operations(engine)) <= 5


@pytest.mark.parametrize("rule", [{"service": "x", "template": "a"}, {"service": "x"}, {"template": "/a"}])
def test_rules_that_are_no_rules(rule: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        OperationOptions.model_validate({"rules": [rule]})
