"""A TCP proxy that misbehaves on demand: it cuts, refuses, stalls and slows the connections that pass through it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that ends a connection with a reset instead of a goodbye."""
CHUNK_BYTES = 1 << 16


class TcpProxy:
    """Passes connections to 127.0.0.1 on to port `upstream`; every method is safe from any thread.

    Args:
        upstream: port on 127.0.0.1 behind the proxy; it may be set to another one while the proxy runs.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.delay_s = 0.0
        """Pause before each chunk that passes, in either direction."""
        self._open = threading.Event()
        self._open.set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._left: int | None = None
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.cut_inside = 0
        """How often `cut_after` came to its end."""
        self.port = 0
        """Where clients connect to, on 127.0.0.1."""
        self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._spawn(self._accept, self._listener)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="tcp proxy", daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
            self._left = None
        for pair in pairs:
            for side in pair:
                _reset(side)
        return len(pairs)

    def refuse(self) -> None:
        """Reset all connections and listen no more: whoever connects is refused."""
        listener, self._listener = self._listener, None
        if listener:
            # Closing alone does not wake a thread that waits in accept().
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut_after(self, count: int) -> None:
        """Reset all connections once clients have sent `count` more bytes: in the middle of whatever they send."""
        with self._lock:
            self._left = count

    def stall(self) -> None:
        """Pass nothing on; connections stay open and say nothing."""
        self._open.clear()

    def resume(self) -> None:
        """End `refuse`, `stall`, `delay_s` and `cut_after`; it listens on the same port."""
        self.delay_s = 0.0
        with self._lock:
            self._left = None
        self._open.set()
        if self._listener is None and not self._ended.is_set():
            self._listen()

    def close(self) -> None:
        """Cut everything and listen no more."""
        self._ended.set()
        self._open.set()
        self.refuse()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream), timeout=10)
            except OSError:
                _reset(client)
                continue
            for side in (client, server):
                side.settimeout(None)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, target in (pair, pair[::-1]):
                self._spawn(self._pass, source, target, pair)

    def _pass(self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                self._open.wait()
                if self.delay_s:
                    self._ended.wait(self.delay_s)
                allowed = self._allowed(len(chunk)) if source is pair[0] else len(chunk)
                target.sendall(chunk[:allowed])
                if allowed < len(chunk):
                    self.cut_inside += 1
                    self.cut()
                    return
        with self._lock:
            self._pairs.discard(pair)
        for side in pair:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _allowed(self, count: int) -> int:
        with self._lock:
            if self._left is None:
                return count
            allowed = min(count, self._left)
            self._left -= allowed
            return allowed


def _reset(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    # A thread that waits in recv() keeps the socket alive: wake it.
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
