"""An HTTP server of the standard library in which everybody who connects is bounded in number, and can be sent away.

One thread a connection; what is asked, and how long that may take, is the handler's.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class BoundedServer(socketserver.ThreadingMixIn, HTTPServer):
    """Listens on `address` (port 0 = any free one) from construction on; `Listener` answers.

    Args:
        address: host (an address; 127.0.0.1 keeps strangers out) and port.
        handler: of each connection.
        name: of the threads.
        connections: open at once; one more is sent `full_answer` and closed.
        full_answer: a whole HTTP response, or nothing.

    Raises:
        OSError: the address cannot be listened on.
    """

    daemon_threads = True  # joined by `end` within a bound; never what keeps a process alive
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        name: str,
        connections: int,
        full_answer: bytes = b"",
    ) -> None:
        self.name = name
        self._connections = connections
        self._full_answer = full_answer
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, tuple[socket.socket, float]] = {}
        """Thread -> its connection, and when it was opened."""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the host's full name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= self._connections
            if not full:
                thread = threading.Thread(
                    target=self._serve, args=(request, client_address), name=f"{self.name} request", daemon=True
                )
                thread.start()  # may fail where there are too many; it waits for the lock before it ends
                self._open[thread] = request, time.monotonic()
        if full:
            self._turn_away(request)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def _turn_away(self, request: socket.socket) -> None:
        if self._full_answer:
            with suppress(OSError):  # it has gone already
                request.settimeout(1.0)
                request.sendall(self._full_answer)
        self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is its sender's business; anything else is a defect of ours and is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def drop(self, opened_before: float) -> None:
        """End the connections that were opened before this moment of the monotonic clock."""
        for connection, opened_at in self._opened().values():
            if opened_at < opened_before:
                with suppress(OSError):  # it has gone already
                    connection.shutdown(socket.SHUT_RDWR)

    def end(self, within_s: float) -> None:
        """Read no more, let what was asked be answered, and wait for that within a bound."""
        left = self._opened()
        for connection, _ in left.values():
            with suppress(OSError):  # closed meanwhile
                connection.shutdown(socket.SHUT_RD)
        until = time.monotonic() + within_s
        for thread in left:
            thread.join(max(0.0, until - time.monotonic()))

    def _opened(self) -> dict[threading.Thread, tuple[socket.socket, float]]:
        with self._lock:
            return dict(self._open)


class Listener:
    """Answers on a thread of its own from construction to `close`. `port` is where it listens."""

    def __init__(self, server: BoundedServer, *, poll_s: float = 0.1) -> None:
        self._server = server
        self.port = server.server_port
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": poll_s}, name=server.name, daemon=True
        )
        self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        """Stop listening, let what was asked be answered within this time. Calling it twice is fine."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.end(within_s)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
