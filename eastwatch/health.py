"""Health and metrics over HTTP, for orchestrators and Prometheus.

    GET /healthz   200 while the process can go on by itself, else 503 and why
    GET /readyz    200 when every check says so, else 503; one line a check
    GET /metrics   Prometheus's text format

Nothing here changes anything, and nothing asks who is there: the address is this machine's alone by default. Whoever
connects is bounded in number, time and size. The answers come from functions that are passed in and must be quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from collector.errors import BadSource, SourceUnavailable
from collector.sources.bounded_http import BoundedServer, Listener
from eastwatch.cli.terminal import printable

CONNECTIONS = 16
"""Connections at once; one more is closed."""
CONNECTION_S = 10.0
"""Longest life of a connection."""
SILENCE_S = 5.0
TEXT = "text/plain; charset=utf-8"
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness depends on. `trouble` is empty where all is well, else what is missing, in one line."""

    name: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the endpoint says; each is called from its threads, several at once."""

    alive: Callable[[], str]
    """Empty, or why the process cannot go on."""
    checks: Callable[[], Sequence[Check]]
    metrics: Callable[[], bytes]


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` (an IPv6 address in brackets).

    Raises:
        BadSource: it is none.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise BadSource(f"setting health.listen = {text!r}: expected HOST:PORT, such as 127.0.0.1:9464")
    return host, int(port)


class _Server(BoundedServer):
    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        self.answers = answers
        super().__init__(address, _Handler, "health", CONNECTIONS)

    def service_actions(self) -> None:
        """Called about twice a second: nobody holds a place by sending a byte now and then."""
        self.drop(time.monotonic() - CONNECTION_S)

    def end(self, within_s: float) -> None:
        """Nobody's answer is worth waiting for."""
        del within_s
        self.drop(float("inf"))


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENCE_S
    server_version = "eastwatch"
    sys_version = ""
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: whoever asks every few seconds is not news."""

    def do_GET(self) -> None:
        """One question."""
        answers = self.server.answers
        match self.path.partition("?")[0]:
            case "/healthz":
                why = answers.alive()
                self._answer(503 if why else 200, (printable(why) or "ok") + "\n")
            case "/readyz":
                checks = answers.checks()
                self._answer(503 if any(check.trouble for check in checks) else 200, told(checks))
            case "/metrics":
                self._answer(200, answers.metrics(), PROMETHEUS_TEXT)
            case _:
                self._answer(404, "no such path, expected /healthz, /readyz or /metrics\n")

    do_HEAD = do_GET

    def _answer(self, status: int, text: str | bytes, kind: str = TEXT) -> None:
        body = text.encode("utf-8", "replace") if isinstance(text, str) else text
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def told(checks: Sequence[Check]) -> str:
    """Checks as text, one line each."""
    lines = [f"wait  {check.name}: {check.trouble}" if check.trouble else f"ok    {check.name}" for check in checks]
    return "".join(printable(line) + "\n" for line in lines)


def serve(address: tuple[str, int], answers: Answers) -> Listener:
    """Listen on `address` (port 0 = any free one) until `close`.

    Raises:
        SourceUnavailable: the address cannot be listened on.
    """
    try:
        return Listener(_Server(address, answers), poll_s=0.5)
    except OSError as error:
        where = f"{address[0]}:{address[1]}"
        why = error.strerror or error
        raise SourceUnavailable(
            f"setting health.listen = {where!r}: {why}, expected a free address of this machine"
        ) from None
