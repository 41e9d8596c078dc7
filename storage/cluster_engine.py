"""A ClickHouse cluster as one engine: definitions go to every node, batches to one shard, everything else to one node.

Connections are made to nodes, not through a balancer: what is written and read back must be written and read on one.
The server that the URL names says which nodes there are (`system.clusters`), and is the one that answers queries; where
it goes away, its shard's other replicas do, then any node. A batch goes to the first replica of its shard that answers;
the deduplication of its token is the shard's, so it may be sent again to another replica.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

from storage.bind import bind
from storage.cluster import Cluster, is_definition, made_again, made_by, render, rows_made_by
from storage.engine import Engine, Settings
from storage.errors import EngineUnavailable, QueryFailed, StorageError
from storage.location import ServerLocation
from storage.placement import STRICT, Place, local, place_of
from storage.server import ServerEngine
from storage.shards import LAYOUTS, REFRESH_S, Layout, Node, announce, layouts, nodes, shard_of
from storage.sql import load
from storage.tokens import tables_read

RETRY_S = 20.0
PAUSE_S = 0.5
DOWN_S = 30.0
"""A node that did not answer is asked last for so long."""
BARE_NODES = 100

SETTINGS: Settings = {
    # Subqueries over Distributed tables are answered once for all shards; by default they are refused.
    "distributed_product_mode": "global",
    # Reads go where writes go: to the first replica that answers, unless it lags behind the others.
    "load_balancing": "in_order",
    "prefer_localhost_replica": 0,
    "max_replica_delay_for_distributed_queries": 5,
    # A shard that does not answer fails the query: a map without it would be wrong.
    "skip_unavailable_shards": 0,
    "optimize_skip_unused_shards": 0,
    "insert_quorum_parallel": 1,
    "insert_quorum_timeout": 60_000,
}
"""What every statement on a cluster runs with, beside those of any server."""
_UNKNOWN_TABLE, _UNKNOWN_DATABASE, _TIMEOUT = 60, 81, 159

Result = TypeVar("Result")


class ClusterEngine:
    """The cluster that `place` names, through one of its servers.

    `find_nodes` says which nodes there are; `retry_s` bounds how long a statement waits for nodes that went away.

    Raises:
        EngineUnavailable: nobody answers at host and port.
        AuthenticationFailed: user or password refused.
        BadLocation: the server knows no such cluster.
    """

    def __init__(
        self,
        place: ServerLocation,
        *,
        retry_s: float = RETRY_S,
        find_nodes: Callable[[Engine, str], Sequence[Node]] = nodes,
    ) -> None:
        self._place = place
        self._retry_s = retry_s
        self._find_nodes = find_nodes
        self._cluster = Cluster(place.cluster, place.database)
        self._settings: Settings = {**SETTINGS, "insert_quorum": place.quorum}
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, int], ServerEngine] = {}
        self._down_until: dict[tuple[str, int], float] = {}
        self._layouts: tuple[float, Sequence[Layout]] = (float("-inf"), [])
        self._has_database = False
        self._closed = False
        self._nodes = self._discover()

    @property
    def location(self) -> str:
        """`clickhouse://host:port/database?cluster=name`."""
        return str(self._place)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """See `Engine.query`."""
        agreed = sorted(STRICT & tables_read(sql))

        def ask(engine: ServerEngine) -> pa.Table:
            for table in agreed:
                self._catch_up(engine, table)
            return engine.query(sql, parameters, settings=settings, external=external)

        return self._tried(self._entries, ask)

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """See `Engine.insert`. A batch for a sharded table is of one topic, partition and arrival."""
        if batch.num_rows == 0:
            return
        if place_of(table) is Place.EVERYWHERE:
            self._insert(self._entries, table, batch, token)
            return
        known = self._known_layouts()
        shard = shard_of(table, batch, known)
        self._insert(lambda: self._replicas(shard), local(table), batch, token)

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """See `Engine.execute`. Definitions become those of the cluster; where one breaks off, all may be run again.

        CREATE TABLE makes a table that some nodes have already as it stands there, on the nodes that lack it.

        Raises:
            BadStatement: a definition that has no known form on a cluster.
        """
        bind(sql, parameters)
        if not is_definition(sql):
            self._once(lambda engine: engine.execute(sql, parameters, settings=settings))
            return
        statements = render(sql, self._cluster)
        if not self._has_database:
            self._define(self._cluster.create_database())
            self._has_database = True
        for statement in statements:
            self._define(self._as_it_stands(statement), parameters, settings)

    def rendered(self, sql: str) -> list[str]:
        """What `execute` would run for a definition."""
        return render(sql, self._cluster)

    def groundwork(self) -> list[str]:
        """What a cluster needs beside the migrations: the database, and the layouts of shards."""
        return [self._cluster.create_database(), *render(LAYOUTS, self._cluster)]

    def extend(self, definitions: Sequence[str]) -> list[str]:
        """Take in nodes that joined the cluster; returns a line for each thing that was done.

        `definitions` (CREATE statements) run again where a node lacks tables, and new shards begin to take batches.
        """
        self._nodes = self._discover()
        bare = self.query(
            load("storage/bare_nodes").text,
            {
                "cluster": self._cluster.name,
                "database": self._cluster.database,
                "tables": [made_by(text) for sql in definitions for text in render(sql, self._cluster)],
                "row_limit": BARE_NODES,
            },
        )
        done = [f"node {row['node']} lacked {row['missing']} tables, made now" for row in bare.to_pylist()]
        if done:
            self._has_database = False
            for sql in definitions:
                self.execute(sql)
        before = self._read_layouts()
        after = self._announced(before)
        if len(after) > len(before):
            numbers = ", ".join(map(str, after[-1].shards))
            done.append(f"shards {numbers} take what arrives from {after[-1].since:%Y-%m-%dT%H:%M:%SZ} on")
        return done

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True
        with self._lock:
            engines = list(self._engines.values())
        for engine in engines:
            engine.close()

    # --- nodes

    def _discover(self) -> list[Node]:
        url = ServerEngine(self._place, settings=self._settings)
        try:
            return list(self._find_nodes(url, self._cluster.name))
        finally:
            url.close()

    def _entries(self) -> list[Node]:
        """The nodes that answer queries, best first."""
        home = next((node for node in self._nodes if node.is_local), self._nodes[0])
        return self._by_health(
            sorted(self._nodes, key=lambda node: (node != home, node.shard != home.shard, node.shard, node.replica))
        )

    def _replicas(self, shard: int) -> list[Node]:
        found = [node for node in self._nodes if node.shard == shard]
        if not found:
            self._nodes = self._discover()
            found = [node for node in self._nodes if node.shard == shard]
        if not found:
            raise EngineUnavailable(
                f"{self.location}: cluster {self._cluster.name} has no shard {shard}, which this batch was cut for; "
                "a shard may leave once nothing that it took can come again"
            )
        return self._by_health(sorted(found, key=lambda node: node.replica))

    def _by_health(self, ordered: Sequence[Node]) -> list[Node]:
        now = time.monotonic()
        return sorted(ordered, key=lambda node: self._down_until.get((node.host, node.port), 0.0) > now)

    def _engine(self, node: Node) -> ServerEngine:
        key = (node.host, node.port)
        with self._lock:
            known = self._engines.get(key)
        if known:
            return known
        place = replace(self._place, host=node.host, port=node.port)
        made = ServerEngine(place, retry_s=0.0, settings=self._settings)
        with self._lock:
            kept = self._engines.setdefault(key, made)
        if kept is not made:
            made.close()
        return kept

    # --- statements

    def _insert(
        self, where: Callable[[], Sequence[Node]], table: str, batch: pa.RecordBatch, token: str | None
    ) -> None:
        if token is None:
            self._once(lambda engine: engine.insert(table, batch), where)
        else:
            self._tried(where, lambda engine: engine.insert(table, batch, token=token))

    def _tried(self, where: Callable[[], Sequence[Node]], call: Callable[[ServerEngine], Result]) -> Result:
        """The result of `call` on the first node that answers, tried for `retry_s` in all."""
        deadline = time.monotonic() + self._retry_s
        while True:
            failures = list[EngineUnavailable]()
            for node in where():
                try:
                    return call(self._engine(node))
                except EngineUnavailable as error:
                    self._down_until[node.host, node.port] = time.monotonic() + DOWN_S
                    failures.append(error)
            if self._closed or time.monotonic() + PAUSE_S > deadline:
                raise failures[0]
            time.sleep(PAUSE_S)

    def _once(self, call: Callable[[ServerEngine], None], where: Callable[[], Sequence[Node]] | None = None) -> None:
        """`call` on the first node that can be connected to; what it began is not begun again elsewhere."""
        call(self._tried(where or self._entries, _answering))

    def _define(
        self, statement: str, parameters: Mapping[str, Any] | None = None, settings: Settings | None = None
    ) -> None:
        """Run a rendered definition, on the node that sends it on to all."""
        self._once(lambda engine: engine.execute(statement, parameters, settings=settings))

    def _as_it_stands(self, statement: str) -> str:
        """`statement`, or, where it makes a table for rows that stands on some node, that table's own statement.

        Keeper holds the columns and TTLs that a table's replicas have agreed on, and one that is made otherwise is
        refused (METADATA_MISMATCH, INCOMPATIBLE_COLUMNS): retention, for one, has altered them since the migration.
        A new shard has no replicas to agree with, and would keep its rows for ever.
        """
        table = rows_made_by(statement)
        if not table:
            return statement
        names = {"cluster": self._cluster.name, "database": self._cluster.database, "table": table}
        standing = self.query(load("storage/standing_table").text, names)["statement"].to_pylist()
        return made_again(standing[0], table, self._cluster) if standing else statement

    def _catch_up(self, engine: ServerEngine, table: str) -> None:
        """Wait until `engine`'s replica of a table has what every other one has accepted."""
        try:
            engine.execute(f"SYSTEM SYNC REPLICA {table} LIGHTWEIGHT")
        except QueryFailed as error:
            if error.code == _TIMEOUT:
                raise EngineUnavailable(f"{error}; the replica lags behind") from None
            if error.code not in (_UNKNOWN_TABLE, _UNKNOWN_DATABASE):
                raise

    # --- layouts

    def _known_layouts(self) -> Sequence[Layout]:
        read_at, known = self._layouts
        if known and time.monotonic() - read_at < REFRESH_S:
            return known
        began = time.monotonic()
        known = self._read_layouts() or self._announced([])
        self._layouts = (began, known)
        return known

    def _read_layouts(self) -> list[Layout]:
        return layouts(self)

    def _announced(self, known: Sequence[Layout]) -> list[Layout]:
        self.execute(LAYOUTS)
        found = announce(self, known, sorted({node.shard for node in self._nodes}), datetime.now(UTC))
        if not found:
            raise StorageError(f"{self.location}: a layout of shards was inserted and is not there")
        return found


def _answering(engine: ServerEngine) -> ServerEngine:
    engine.query("SELECT 1 AS one")
    return engine
