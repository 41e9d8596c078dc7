"""From a `--store` URL to an engine."""

from __future__ import annotations

import time

from storage import location
from storage.attached import AttachedEngine
from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from storage.errors import EngineUnavailable, StoreHeld
from storage.holder import Holder
from storage.location import ChdbLocation

POLL_S = 0.05


def open_store(url: str, *, wait_s: float = 10.0, memory_bytes: int | None = None) -> Engine:
    """The engine for a `--store` URL.

    `chdb:PATH` is held by this process and served to others on its socket; when another process holds it, that one is
    asked instead. While a holder is starting or ending, this waits up to `wait_s` seconds. `memory_bytes` bounds an
    embedded engine. `clickhouse://...?cluster=NAME` is a cluster.

    Raises:
        BadLocation: the URL cannot be read.
        StoreHeld: another process holds the store and does not answer on its socket.
        StoreUnwritable: the directory cannot be created or written.
        EngineUnavailable, AuthenticationFailed: the server cannot be reached, or refuses.
    """
    place = location.parse(url)
    if not isinstance(place, ChdbLocation):
        if place.cluster:
            from storage.cluster_engine import ClusterEngine

            return ClusterEngine(place)
        from storage.server import ServerEngine

        return ServerEngine(place)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _hold(place, memory_bytes)
        except StoreHeld as error:
            held = error
        try:
            return AttachedEngine(place.path)
        except EngineUnavailable as error:
            if time.monotonic() >= deadline:
                raise StoreHeld(f"{held}, which does not answer on its socket: {error}") from None
        time.sleep(POLL_S)


def _hold(place: ChdbLocation, memory_bytes: int | None) -> EmbeddedEngine:
    engine = EmbeddedEngine(place.path, memory_bytes=memory_bytes)
    try:
        engine.on_close(Holder(engine).stop)
    except BaseException:
        engine.close()
        raise
    return engine
