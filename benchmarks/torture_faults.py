"""What the torture test breaks beside the ingesters: the broker, and the way to the engine and the engine itself."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.torture_ingesters import Ingesters
from storage.connect import open_store
from tests.support.kafka_broker import KafkaBroker
from tests.support.native_server import NativeServer, start_native_server
from tests.support.poll import poll
from tests.support.tcp_proxy import TcpProxy

FROZEN_S = 4.0
"""Longer than an ingester's session of 2 s."""
FULL = ("calls", "edges_1h", "base_edges_1h", "spans", "dead_letters", "ingest_positions")
"""Tables for whose inserts there may be no space left: raw ones, and rollups in the middle of the chain of views."""
DATABASE = "eastwatch"


class EmbeddedStore:
    """An embedded store: it lives and dies with its ingester."""

    def __init__(self, directory: Path) -> None:
        self.store = self.direct = f"chdb:{directory / 'store'}"

    def close(self) -> None:
        """Nothing runs."""


class ServerStore:
    """A server behind a proxy: ingesters use `store`, the test itself goes past the proxy with `direct`."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / "server")
        self._stack = ExitStack()
        self._server = self._started()
        self.proxy = TcpProxy(self._server.port)

    def _started(self) -> NativeServer:
        return self._stack.enter_context(start_native_server(path=self._path))

    @property
    def direct(self) -> str:
        """The server itself, as `--store` takes it."""
        return self._server.url(DATABASE)

    @property
    def store(self) -> str:
        """The server through the proxy."""
        return self.direct.replace(f":{self._server.port}/", f":{self.proxy.port}/") + "?timeout_s=5"

    def kill(self) -> None:
        """SIGKILL the server."""
        os.kill(self._server.pid, signal.SIGKILL)
        self._stack.close()

    def start(self) -> None:
        """Start it on its data; it has another port, and the proxy knows."""
        self._server = self._started()
        self.proxy.upstream = self._server.port

    def fill(self, table: str) -> None:
        """From now on inserts into `table` find no space: ClickHouse's error 243."""
        poll(lambda: self._ask(f"EXISTS TABLE {table}"), f"table {table}, which an ingester makes")
        self._alter(table, f"MODIFY SETTING min_free_disk_bytes_to_perform_insert = {1 << 60}")

    def free(self, table: str) -> None:
        """There is space again."""
        self._alter(table, "RESET SETTING min_free_disk_bytes_to_perform_insert")

    def refused_for_space(self) -> int:
        """How many inserts found none so far."""
        return self._ask("SELECT sum(value) FROM system.errors WHERE name = 'NOT_ENOUGH_SPACE'")

    def _ask(self, sql: str) -> int:
        with closing(open_store(self.direct)) as engine:
            return int(engine.query(sql).column(0)[0].as_py())

    def _alter(self, table: str, what: str) -> None:
        with closing(open_store(self.direct)) as engine:
            engine.execute(f"ALTER TABLE {table} {what}")

    def close(self) -> None:
        """Stop the server."""
        self.proxy.close()
        self._stack.close()


@dataclass(frozen=True, slots=True)
class Victims:
    """What can be broken."""

    broker: KafkaBroker
    ingesters: Ingesters
    store: EmbeddedStore | ServerStore
    chance: random.Random

    @property
    def server(self) -> ServerStore:
        """The store, where it is a server."""
        assert isinstance(self.store, ServerStore)
        return self.store


Lift = Callable[[], bool | None]
"""Ends a fault; False where nothing had met it meanwhile, None where it meets whoever runs."""


def _then(end: Callable[[], object]) -> Lift:
    def lift() -> None:
        end()

    return lift


def _restart_broker(of: Victims) -> Lift:
    of.broker.stop()
    return _then(of.broker.start)


def _kill_broker(of: Victims) -> Lift:
    assert of.broker.pid
    os.kill(of.broker.pid, signal.SIGKILL)
    of.broker.stop()
    return _then(of.broker.start)


def _cut(of: Victims) -> Lift:
    of.server.proxy.cut()
    return _then(of.server.proxy.cut)


def _cut_inside(of: Victims) -> Lift:
    proxy = of.server.proxy
    before = proxy.cut_inside
    proxy.cut_after(of.chance.randrange(200, 60_000))

    def lift() -> bool:
        proxy.resume()
        return proxy.cut_inside > before

    return lift


def _refuse(of: Victims) -> Lift:
    of.server.proxy.refuse()
    return _then(of.server.proxy.resume)


def _stall(of: Victims) -> Lift:
    of.server.proxy.stall()
    return _then(of.server.proxy.resume)


def _slow(of: Victims) -> Lift:
    of.server.proxy.delay_s = 0.02
    return _then(of.server.proxy.resume)


def _kill_engine(of: Victims) -> Lift:
    of.server.kill()
    return _then(of.server.start)


def _full(of: Victims) -> Lift:
    table, server = of.chance.choice(FULL), of.server
    before = server.refused_for_space()
    server.fill(table)

    def lift() -> bool:
        server.free(table)
        return server.refused_for_space() > before

    return lift


def _freeze(of: Victims) -> Lift:
    began = time.monotonic()
    of.ingesters.freeze()

    def lift() -> None:
        time.sleep(max(0.0, FROZEN_S - (time.monotonic() - began)))
        of.ingesters.thaw()

    return lift


Fault = Callable[[Victims], Lift]
EVERYWHERE: Mapping[str, Fault] = {"broker restarted": _restart_broker, "broker killed": _kill_broker}
SERVER: Mapping[str, Fault] = {
    "engine's connections cut": _cut,
    "cut in the middle of an insert": _cut_inside,
    "engine refuses connections": _refuse,
    "engine stalls": _stall,
    "engine slow": _slow,
    "engine killed": _kill_engine,
    "engine's disk full": _full,
    "ingester frozen": _freeze,
}
"""Only where several processes share an engine that is not one of them."""
