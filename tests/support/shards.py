"""A stand-in for a ClickHouse cluster: native test servers as shards, each behind two proxies as its two replicas.

Replicas of a shard share one store, as real replicas share rows and tokens through Keeper: what is tested is where
statements go, not ClickHouse's replication. The tables are those of the cluster's statements, unreplicated; what is
Distributed is a view over the shards' local tables, and what lives everywhere lives on the first shard's server.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage.cluster import WINDOW_S, Cluster, render
from storage.cluster_engine import ClusterEngine
from storage.engine import Engine, Settings
from storage.location import ServerLocation, parse
from storage.migrate import definitions
from storage.placement import EVERYWHERE, LOCAL, STRICT, local
from storage.server import ServerEngine
from storage.shards import LAYOUTS, Node
from storage.sql import load
from tests.support.native_server import NativeServer, start_native_server
from tests.support.tcp_proxy import TcpProxy

DATABASE = "eastwatch"
CLUSTER = Cluster("main", DATABASE)
_TABLE = re.compile(r"CREATE (?:OR REPLACE )?TABLE (?:IF NOT EXISTS )?(\w+)")


@dataclass(frozen=True, slots=True)
class Shard:
    """One server, and the proxies that stand for its replicas."""

    number: int
    server: NativeServer
    direct: ServerEngine
    replicas: tuple[TcpProxy, TcpProxy]

    def nodes(self) -> list[Node]:
        """The shard as `system.clusters` would list it."""
        return [
            Node(self.number, number, "127.0.0.1", proxy.port, is_local=(self.number, number) == (1, 1))
            for number, proxy in enumerate(self.replicas, 1)
        ]

    def count(self, table: str, of: str = "count()") -> Any:
        """An aggregate over the shard's own rows of a table."""
        return self.direct.query(f"SELECT {of} AS n FROM {local(table)}")["n"][0].as_py()


class Shards:
    """The whole stand-in: `engine()` opens it; `listed` are the shards that the cluster's configuration names."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards
        self.listed = len(shards)
        self.caught_up: list[str] = []
        """Tables whose replica was brought up to date before they were read, in order."""

    def place(self) -> ServerLocation:
        """The first server's own address, as the URL names it."""
        place = parse(self.shards[0].server.url(DATABASE) + "?cluster=main")
        assert isinstance(place, ServerLocation)
        return place

    def nodes(self, engine: Engine, cluster: str) -> list[Node]:
        """In the place of `storage.shards.nodes`."""
        del engine
        assert cluster == "main"
        return [node for shard in self.shards[: self.listed] for node in shard.nodes()]

    def engine(self, retry_s: float = 10.0) -> ClusterEngine:
        """A cluster engine of its own, as another process would have."""
        return _StandIn(self, retry_s)

    def define(self, sql: str) -> None:
        """Run a definition on every server, in the form that a server without Keeper can run."""
        for statement in render(sql, CLUSTER):
            self.run(statement)

    def run(self, statement: str, settings: Settings | None = None) -> None:
        """Run a rendered definition on every server: what ON CLUSTER does, or the replicas of a table everywhere."""
        if statement.startswith("ALTER") and " ON CLUSTER " not in statement:
            self.shards[0].direct.execute(statement, settings=settings)
            return
        for shard in self.shards:
            shard.direct.execute(self._stand_in(shard, statement), settings=settings)

    def _stand_in(self, shard: Shard, statement: str) -> str:
        if statement.startswith("ALTER"):
            return unreplicated(statement)
        made = _TABLE.match(statement[statement.index("CREATE") :])
        if made and "ENGINE = Distributed(" in statement:
            parts = [self._rows(shard, other, local(made[1])) for other in self.shards]
            union = " UNION ALL ".join(f"SELECT * FROM {part}" for part in parts)
            return f"CREATE VIEW IF NOT EXISTS {made[1]} AS {union}"
        if made and made[1] in EVERYWHERE and shard.number != 1:
            return f"CREATE TABLE IF NOT EXISTS {made[1]} AS {self._rows(shard, self.shards[0], made[1])}"
        return unreplicated(statement)

    def _rows(self, reader: Shard, holder: Shard, table: str) -> str:
        """What `reader` names to read a table that `holder` has."""
        if holder is reader:
            return table
        server = holder.server
        return f"remote('127.0.0.1:{server.port}', '{DATABASE}', '{table}', '{server.user}', '{server.password}')"


def unreplicated(statement: str) -> str:
    """A statement for a cluster as one for a single server."""
    statement = re.sub(r" ON CLUSTER '\w+'", "", statement)
    statement = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?", r"\1(", statement)
    statement = re.sub(r"replicated_deduplication_window_seconds = \d+, ", "", statement)
    return statement.replace(" replicated_deduplication_window =", " non_replicated_deduplication_window =")


def replicated(statement: str) -> str:
    """What a cluster's `system.tables` says of a table: from what a single server says of its `unreplicated` one."""
    named = re.match(r"CREATE TABLE \S+\.(\w+) ", statement)
    assert named, statement
    arguments = CLUSTER.replica(named[1].removesuffix(LOCAL))
    statement = re.sub(
        r" ENGINE = (\w*MergeTree)(?:\((\w*)\))?",
        lambda made: f" ENGINE = Replicated{made[1]}({', '.join(filter(None, (arguments, made[2])))})",
        statement,
    )
    windows = f" replicated_deduplication_window_seconds = {WINDOW_S}, replicated_deduplication_window ="
    return statement.replace(" non_replicated_deduplication_window =", windows)


class _StandIn(ClusterEngine):
    """Without what needs Keeper: definitions ON CLUSTER, and waiting for other replicas."""

    def __init__(self, shards: Shards, retry_s: float) -> None:
        self._shards = shards
        super().__init__(shards.place(), retry_s=retry_s, find_nodes=shards.nodes)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        # What clusterAllReplicas() would ask each server.
        here = sql.replace("clusterAllReplicas({cluster:String}, system.tables)", "system.tables")
        if sql == load("storage/standing_table").text:
            names = {name: value for name, value in (parameters or {}).items() if name != "cluster"}
            found = self._shards.shards[0].direct.query(here, names)
            return pa.table({"statement": [replicated(text) for text in found["statement"].to_pylist()]})
        if sql != load("storage/bare_nodes").text:
            return super().query(sql, parameters, settings=settings, external=external)
        here = here.replace("hostName()", "{cluster:String}")
        return pa.concat_tables(
            shard.direct.query(here, {**(parameters or {}), "cluster": f"shard-{shard.number}"})
            for shard in self._shards.shards
        )

    def _define(
        self, statement: str, parameters: Mapping[str, Any] | None = None, settings: Settings | None = None
    ) -> None:
        del parameters
        self._shards.run(statement, settings)

    def _catch_up(self, engine: ServerEngine, table: str) -> None:
        del engine
        assert table in STRICT
        self._shards.caught_up.append(table)


@contextlib.contextmanager
def start_shards(count: int = 2) -> Generator[Shards]:
    """`count` shards with the tables of a cluster, ended with the block."""
    with ExitStack() as stack:
        shards = list[Shard]()
        for number in range(1, count + 1):
            server = stack.enter_context(start_native_server())
            place = parse(server.url(DATABASE))
            assert isinstance(place, ServerLocation)
            direct = ServerEngine(place)
            stack.callback(direct.close)
            replicas = (stack.enter_context(TcpProxy(server.port)), stack.enter_context(TcpProxy(server.port)))
            shards.append(Shard(number, server, direct, replicas))
        made = Shards(shards)
        for sql in [*definitions(), LAYOUTS]:
            made.define(sql)
        yield made
