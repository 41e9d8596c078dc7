"""Where statements of a cluster go: batches to the shard of their first try, whichever replica, whatever breaks.

The shards are stand-ins (`tests.support.shards`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.dependencies.derive import derive
from analyzers.dependencies.model import ServiceMap
from analyzers.dependencies.service_map import service_map
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.bounds import BoundsBook
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.sources.memory import MemorySource
from collector.sources.source import Cut, Lease
from storage.cluster import render
from storage.cluster_engine import ClusterEngine
from storage.conform import conform
from storage.connect import open_store
from storage.engine import Engine
from storage.errors import BadBatch, BadLocation, EngineUnavailable, StorageError
from storage.migrate import definitions, migrations
from storage.placement import LOCAL, ROUTED
from storage.retention import Retention, apply
from storage.shards import LAYOUTS, LEAD, Layout, announce, layouts, nodes, shard_of
from storage.tables import CALLS, SPANS, TABLES
from tests.collector.ingest.test_loop import batch, call
from tests.support.cli import eastwatch_json
from tests.support.native_server import start_native_server
from tests.support.shards import CLUSTER, Shards, start_shards
from tests.support.tcp_proxy import TcpProxy

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TWO = [Layout(0, datetime(1970, 1, 1, tzinfo=UTC), (1, 2))]
SIZE = 20
PARTITIONS = 4
SUMMED = (
    "edges_1m",
    "edges_1h",
    "edges_1d",
    "base_edges_1m",
    "base_edges_10m",
    "base_edges_1h",
    "base_edges_6h",
    "edge_ledger",
)


@pytest.fixture(scope="module")
def started() -> Iterator[Shards]:
    with start_shards() as shards:
        yield shards


@pytest.fixture
def shards(started: Shards) -> Shards:
    """Two shards, empty and in health."""
    for shard in started.shards:
        for proxy in shard.replicas:
            proxy.resume()
        found = shard.direct.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        )
        for name in found["name"].to_pylist():
            shard.direct.execute(f"TRUNCATE TABLE {name}")
    started.listed = len(started.shards)
    started.caught_up.clear()
    return started


@pytest.fixture
def cluster(shards: Shards) -> Iterator[ClusterEngine]:
    engine = shards.engine()
    yield engine
    engine.close()


def batches(*partitions: int, count: int = 1) -> list[Batch]:
    """Batches in a row of each partition, one record of each undecodable."""
    return [
        batch([*(call(n) for n in range(start, start + SIZE - 1)), b"torn"], first=start, partition=partition)
        for start in range(0, count * SIZE, SIZE)
        for partition in partitions
    ]


def ingest(engine: Engine, *found: Batch) -> None:
    source = MemorySource("memory", found, "calls_json", replayable=True)
    Ingest(engine, [source], DecoderCache(Limits()), options=IngestOptions(), patient=False).run()


def everything(engine: Engine) -> dict[str, int]:
    """What the whole cluster holds."""
    asked = [(name, "count()") for name in ("calls", "dead_letters")] + [(name, "sum(requests)") for name in SUMMED]
    union = " UNION ALL ".join(f"SELECT '{name}' AS name, {of} AS n FROM {name}" for name, of in asked)
    return {row["name"]: row["n"] for row in engine.query(union).to_pylist()}


def once(partitions: int, count: int = 1) -> dict[str, int]:
    """What it should hold of `batches` of so many partitions."""
    calls = partitions * count * (SIZE - 1)
    return {"calls": calls, "dead_letters": partitions * count, **dict.fromkeys(SUMMED, calls)}


def a_call(partition: int, at: datetime = NOW, topic: str = "calls") -> pa.RecordBatch:
    one = pa.record_batch({"ts": pa.array([at], pa.timestamp("us", "UTC"))})
    return conform(CALLS, one, received_at=at, topic=topic, partition=partition)


def test_each_partition_goes_to_one_shard(shards: Shards, cluster: ClusterEngine) -> None:
    ingest(cluster, *batches(*range(PARTITIONS)))
    held = [set(shard.count("calls", "groupUniqArray(partition)")) for shard in shards.shards]
    assert held == [{p for p in range(PARTITIONS) if shard_of("calls", a_call(p), TWO) == n} for n in (1, 2)]
    assert [len(partitions) for partitions in held] == [2, 2]
    for shard, partitions in zip(shards.shards, held, strict=True):
        assert set(shard.count("dead_letters", "groupUniqArray(partition)")) == partitions
        # The views of a shard count what the shard holds.
        assert {shard.count(name, "sum(requests)") for name in SUMMED} == {len(partitions) * (SIZE - 1)}
    assert everything(cluster) == once(PARTITIONS)


def test_the_same_again_changes_nothing(shards: Shards, cluster: ClusterEngine) -> None:
    for _ in range(2):
        ingest(cluster, *batches(*range(PARTITIONS)))
    other = shards.engine()
    ingest(other, *batches(0))
    other.close()
    assert everything(cluster) == once(PARTITIONS)


def test_an_insert_that_breaks_off_is_repeated_on_its_own_shard(shards: Shards, cluster: ClusterEngine) -> None:
    ingest(cluster, *batches(0))
    sent_bytes = 1
    for partition in range(1, PARTITIONS):
        for shard in shards.shards:
            for proxy in shard.replicas:
                # Somewhere in the statement, in its block, or behind it.
                proxy.cut_after(sent_bytes)
                sent_bytes += 997
        ingest(cluster, *batches(partition))
    assert everything(cluster) == once(PARTITIONS)
    for shard in shards.shards:
        assert len(shard.count("calls", "groupUniqArray(partition)")) == 2


def test_another_replica_of_the_shard_takes_over(shards: Shards, cluster: ClusterEngine) -> None:
    for shard in shards.shards:
        shard.replicas[0].refuse()
    ingest(cluster, *batches(*range(PARTITIONS)))
    for shard in shards.shards:
        shard.replicas[0].resume()
        shard.replicas[1].refuse()
    ingest(cluster, *batches(*range(PARTITIONS), count=2))
    assert everything(cluster) == once(PARTITIONS, count=2)


def test_no_other_shard_takes_what_is_not_its_own(shards: Shards) -> None:
    engine = shards.engine(retry_s=0.0)
    engine.insert("calls", a_call(0), token="first")
    home = shard_of("calls", a_call(0), TWO)
    away, other = shards.shards[home - 1], shards.shards[2 - home]
    for proxy in away.replicas:
        proxy.refuse()
    with pytest.raises(EngineUnavailable):
        engine.insert("calls", a_call(0), token="second")
    engine.insert("calls", a_call(1), token="third")
    engine.close()
    assert (away.count("calls"), other.count("calls")) == (1, 1)


def test_replays_go_where_the_first_try_went_after_a_shard_joined(shards: Shards) -> None:
    shards.listed = 1
    before = shards.engine()
    for partition in range(PARTITIONS):
        before.insert("calls", a_call(partition), token=f"t{partition}")
    before.close()
    shards.listed = 2
    after = shards.engine()
    known = announce(after, layouts(after), [1, 2], NOW + timedelta(hours=1))
    assert [layout.shards for layout in known] == [(1,), (1, 2)]
    assert known[1].since == NOW + timedelta(hours=1) + LEAD
    for partition in range(PARTITIONS):
        after.insert("calls", a_call(partition), token=f"t{partition}")
    assert [shard.count("calls") for shard in shards.shards] == [PARTITIONS, 0]
    for partition in range(PARTITIONS):
        after.insert("calls", a_call(partition, known[1].since), token=f"u{partition}")
    assert [shard.count("calls") for shard in shards.shards] == [PARTITIONS + 2, 2]
    after.close()


def test_who_joins_gets_its_tables_and_its_share(shards: Shards) -> None:
    shards.listed = 1
    engine = shards.engine()
    engine.insert("calls", a_call(0), token="t")
    assert engine.extend(definitions()) == []
    shards.listed = 2
    shards.shards[1].direct.execute("DROP VIEW edges_1m_from_calls")
    shards.shards[1].direct.execute("DROP TABLE edges_1m_local SYNC")
    done = engine.extend(definitions())
    assert done[0] == "node shard-2 lacked 2 tables, made now"
    assert len(done) == 2 and done[1].startswith("shards 1, 2 take what arrives from ")
    assert engine.extend(definitions()) == []
    engine.close()


def test_who_joins_keeps_its_rows_as_long_as_the_others(shards: Shards) -> None:
    shards.listed = 1
    engine = shards.engine()
    joining = shards.shards[1].direct
    stands = (
        "SELECT name, create_table_query AS ddl FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    )
    # No row of these tests is as old as that.
    kept = Retention(calls_days=3000, raw_days=2999, minutes_days=3000, hours_days=3001, days_days=3002)
    apply(engine, kept)
    before = {row["name"]: row["ddl"] for row in joining.query(stands).to_pylist()}
    assert all(" TTL toDate(received_" in before[name] for name in ("calls_local", "edges_1h_local"))
    joining.execute(f"DROP DATABASE {CLUSTER.database} SYNC")
    joining.execute(f"CREATE DATABASE {CLUSTER.database}")
    shards.listed = 2
    try:
        assert engine.extend(definitions())[0].startswith("node shard-2 lacked ")
        assert {row["name"]: row["ddl"] for row in joining.query(stands).to_pylist()} == before
        # Whoever applies the settings compares them with the entry server's tables, which have them.
        assert apply(engine, kept) == []
    finally:
        shards.define("ALTER TABLE calls MODIFY COLUMN raw REMOVE TTL")
        for row in shards.shards[0].direct.query(stands).to_pylist():
            if " TTL " in row["ddl"]:
                shards.define(f"ALTER TABLE {row['name'].removesuffix(LOCAL)} REMOVE TTL")
        engine.close()


def test_of_two_layouts_of_one_number_the_first_stands(shards: Shards, cluster: ClusterEngine) -> None:
    cluster.insert("calls", a_call(0), token="t")
    known = layouts(cluster)
    assert [layout.shards for layout in known] == [(1, 2)]
    first = announce(cluster, known, [2], NOW)
    assert announce(cluster, known, [1], NOW + timedelta(days=1)) == first
    assert announce(cluster, first, [2], NOW) == first
    assert first[-1] == Layout(1, NOW + LEAD, (2,))


def test_bounds_are_agreed_on_by_all(shards: Shards, cluster: ClusterEngine) -> None:
    other = shards.engine()
    cut = Cut(batches(0)[0], "calls_json", Lease())
    first = BoundsBook(cluster).claim(cut, NOW, "calls_json/1")
    assert BoundsBook(other).claim(cut, NOW + timedelta(minutes=1), "calls_json/2") == first
    other.close()
    # Before each look a node has to hear what the others accepted: else it could see nothing and write its own.
    assert shards.caught_up == ["ingest_positions", "ingest_positions"]


def test_what_breaks_at_the_entry_moves_to_another_node(shards: Shards, cluster: ClusterEngine) -> None:
    ingest(cluster, *batches(0))
    shards.shards[0].replicas[0].refuse()
    assert cluster.query("SELECT count() AS n FROM calls")["n"].to_pylist() == [SIZE - 1]
    ingest(cluster, *batches(1))
    assert everything(cluster) == once(2)


def span(partition: int, number: int, kind: str, service: str, ids: tuple[str, str]) -> pa.RecordBatch:
    """One span of a trace of its own; `ids` = its id and its parent's."""
    one = pa.record_batch({"ts": pa.array([NOW + timedelta(seconds=number)], pa.timestamp("us", "UTC"))})
    return conform(
        SPANS, one, received_at=NOW, topic="spans", partition=partition, trace_id=f"t{number}", span_id=ids[0],
        parent_span_id=ids[1], kind=kind, service=service, namespace="shop", operation="GET /cart", duration_us=1000,
    )  # fmt: skip


def test_the_map_is_that_of_a_single_server(cluster: ClusterEngine, engine: Engine) -> None:
    """Both sides of a call, and both spans of a pair, lie on different shards; so do the lines of one edge."""
    found = list[Batch]()
    for partition in range(PARTITIONS):
        reporter = "source" if partition % 2 else "destination"
        lines = [call(n, reporter=reporter, duration_us=1000 * n, status=500 if n % 7 == 0 else 200) for n in range(40)]
        found.append(batch(lines, partition=partition))
    maps = list[ServiceMap]()
    for store in (cluster, engine):
        ingest(store, *found)
        for number in range(3):
            store.insert("spans", span(0, number, "client", "web", ("c", "")), token=f"c{number}")
            store.insert("spans", span(1, number, "server", "stock", ("s", "c")), token=f"s{number}")
        assert derive(store, now=NOW).minutes["trace"] == 1
        maps.append(service_map(store))
    assert maps[0] == maps[1]
    assert {(edge.source, edge.destination): edge.requests for edge in maps[0].edges} == {
        ("shop/web", "shop/cart"): 80,
        ("shop/web", "shop/stock"): 3,
    }


def test_batches_that_cannot_be_placed_are_refused(cluster: ClusterEngine) -> None:
    bare = pa.record_batch({"ts": pa.array([NOW], pa.timestamp("us", "UTC"))})
    with pytest.raises(BadBatch, match="must say topic, partition, received_at"):
        cluster.insert("calls", bare, token="t")
    with pytest.raises(BadBatch, match="edges_1m is filled by views only"):
        cluster.insert("edges_1m", bare, token="t")
    with pytest.raises(StorageError, match=r"strange.*does not say where it lives"):
        cluster.insert("strange", bare)


def test_a_cluster_that_nobody_knows_is_told(shards: Shards) -> None:
    with pytest.raises(BadLocation, match=r"knows no cluster 'main', only none; remote_servers"):
        nodes(shards.shards[0].direct, "main")


def test_the_command_prints_what_a_cluster_would_get(tmp_path: Path) -> None:
    """Through the server's own configuration of its cluster."""
    with ExitStack() as stack:
        node = stack.enter_context(TcpProxy(0))
        shard = f"<shard><replica><host>127.0.0.1</host><port>{node.port}</port></replica></shard>"
        config = tmp_path / "config.xml"
        config.write_text(f"<clickhouse><remote_servers><main>{shard}</main></remote_servers></clickhouse>")
        server = stack.enter_context(start_native_server(path=f"{tmp_path}/data?config-file={config}"))
        node.upstream = server.port
        store = server.url("eastwatch")
        with pytest.raises(BadLocation, match="knows no cluster 'other', only main"):
            open_store(f"{store}?cluster=other")
        printed = eastwatch_json("migrate", "--dry-run", "--sql", "--store", f"{store}?cluster=main")
    assert len(printed["pending"]) == len(migrations())
    assert printed["statements"][0] == "CREATE DATABASE IF NOT EXISTS `eastwatch` ON CLUSTER 'main'"
    rendered = [text for sql in [LAYOUTS, *definitions()] for text in render(sql, CLUSTER)]
    assert printed["statements"][1:] == rendered


def test_where_batches_go_is_fixed_for_ever() -> None:
    """Another release must send a replay where this one sent the first try."""
    sent = [shard_of("calls", a_call(p, topic=t), TWO) for t in ("calls", "spans", "größe", "") for p in range(3)]
    assert sent == EXPECTED
    assert all(name in TABLES for name in ROUTED)


EXPECTED = [1, 2, 1, 1, 2, 1, 2, 1, 2, 1, 2, 1]


@given(st.text(max_size=30), st.integers(1, 9), st.integers(1, 40))
def test_partitions_of_a_topic_go_round(topic: str, count: int, partitions: int) -> None:
    known = [Layout(0, datetime(1970, 1, 1, tzinfo=UTC), tuple(range(1, count + 1)))]
    rows = pa.table({"topic": [topic], "partition": [0], "received_at": [NOW]}).to_batches()[0]
    per_shard = Counter(
        shard_of("calls", rows.set_column(1, "partition", pa.array([p])), known) for p in range(partitions)
    )
    full = [per_shard[shard] for shard in known[0].shards]
    assert max(full) - min(full) <= 1
