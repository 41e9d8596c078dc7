"""ClickHouse's HTTP interface with a hole in it: what is inserted is not stored.

`benchmarks.peers` gives it to agents in place of a server, so that the server's work is not theirs. Everything but an
INSERT is answered by chDB (`CREATE`, `DESCRIBE`, the questions a driver opens with), so that answers and errors are the
real ones. An INSERT is read to its end and answered; its body stays in memory as it came, is counted when the clock has
stopped, and is gone after that. On demand every INSERT is refused, as by a server that is out of memory.

As a program, `python -m benchmarks.peers_sink --path DIR` prints its port and ends when its stdin closes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

from tests.support.http_body import read_body
from tests.support.native_wire import Reader, WireError, frames, read_blocks, read_frame

ROOT = Path(__file__).parent.parent
OWN = "/benchmark/"
"""Paths of the benchmark's own questions; ClickHouse has none there."""
BODIES_LIMIT_BYTES = 4 << 30
FILE_BYTES = 64 << 20
REFUSAL = "Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)"
_MAP = "Map(LowCardinality(String), String)"
SPAN_TYPES = {
    "Timestamp": "DateTime64(9)",
    **dict.fromkeys(("TraceId", "SpanId", "ParentSpanId", "TraceState"), "String"),
    **dict.fromkeys(("SpanName", "SpanKind", "ServiceName"), "LowCardinality(String)"),
    "ResourceAttributes": _MAP,
    **dict.fromkeys(("ScopeName", "ScopeVersion"), "String"),
    "SpanAttributes": _MAP,
    "Duration": "UInt64",
    "StatusCode": "LowCardinality(String)",
    "StatusMessage": "String",
    "Events.Timestamp": "Array(DateTime64(9))",
    "Events.Name": "Array(LowCardinality(String))",
    "Events.Attributes": f"Array({_MAP})",
    **dict.fromkeys(("Links.TraceId", "Links.SpanId", "Links.TraceState"), "Array(String)"),
    "Links.Attributes": f"Array({_MAP})",
}
"""Columns of the traces table that both agents insert into: their exporters share its schema."""


@dataclass(frozen=True, slots=True)
class Inserts:
    """What came since the last `forget`; times are of the monotonic clock, 0 before the first."""

    count: int = 0
    refused: int = 0
    wire_bytes: int = 0
    first_s: float = 0.0
    last_s: float = 0.0


@dataclass(slots=True)
class Hole:
    """Where inserts go: bodies by the format of their INSERT, and when they came."""

    inserts: Inserts = Inserts()
    refusing: bool = False
    bodies: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, query: str, body: bytes, *, compressed: bool) -> None:
        """Note one INSERT. Raises ValueError where it is refused, or neither Native nor RowBinary of spans."""
        form = _insert_format(query)
        now = time.monotonic()
        with self.lock:
            if self.refusing:
                self.inserts = replace(self.inserts, refused=self.inserts.refused + 1)
                raise ValueError(REFUSAL)
            one = self.inserts
            held = one.wire_bytes + len(body)
            if held > BODIES_LIMIT_BYTES:
                raise ValueError(f"more than {BODIES_LIMIT_BYTES} bytes in one run")
            self.inserts = Inserts(one.count + 1, one.refused, held, one.first_s or now, now)
            self.bodies.setdefault(form, []).append(body if compressed else b"".join(frames(body)))

    def forget(self, *, refusing: bool = False) -> None:
        """Drop what came, and refuse what comes from now on, or take it."""
        with self.lock:
            self.inserts, self.bodies, self.refusing = Inserts(), {}, refusing


def _insert_format(query: str) -> str:
    """`Native`, or `RowBinary` followed by the structure of its rows."""
    columns, _, rest = query.partition("(")[2].partition(")")
    if rest.split()[-2:] != ["FORMAT", "RowBinary"]:
        if rest.split()[-1:] in (["VALUES"], ["Native"]):
            return "Native"
        raise ValueError(f"neither Native nor RowBinary: {query[:200]}")
    names = [name.strip(' `"\n') for name in columns.split(",")]
    return "RowBinary, '" + ", ".join(f"`{name}` {SPAN_TYPES[name]}" for name in names) + "'"


def unpacked(body: bytes) -> Iterator[bytes]:
    """The contents of ClickHouse's compressed frames, one after the other."""
    pieces = iter((body,))
    reader = Reader(lambda: next(pieces, b""))
    reader.ensure(1)
    while reader.pos < len(reader.data):
        yield read_frame(reader)


class Sink:
    """Answers to HTTP requests; chDB does the thinking.

    Args:
        path: an empty directory for chDB and for what is counted.
    """

    def __init__(self, path: Path) -> None:
        self.hole = Hole()
        self._session = Session(str(path / "store"))
        self._counted = path / "counted"
        self._lock = threading.Lock()

    def close(self) -> None:
        self._session.close()

    def answer(self, query: str, *, revision: int, compressed: bool) -> bytes:
        """The engine's answer in ClickHouse's Native format, as a driver of this protocol revision reads it."""
        with self._lock:
            native = self._session.query(query, "Native").bytes()
        plain = b"".join(block.encode(revision) for block in read_blocks(native))
        return b"".join(frames(plain)) if compressed else plain

    def count(self) -> dict[str, int]:
        """Rows and distinct spans among the inserts, parsed by the engine.

        Returns:
            `rows` and `spans`, the number of distinct span ids.
        """
        self._counted.mkdir(exist_ok=True)
        sources: list[str] = []
        for number, (form, bodies) in enumerate(self.hole.bodies.items()):
            files = self._counted / str(number)
            files.mkdir()
            _write_files(files, bodies)
            sources.append(f"SELECT SpanId FROM file('{files}/*', {form})")
        try:
            if not sources:
                return {"rows": 0, "spans": 0}
            sql = f"SELECT count() AS rows, uniqExact(SpanId) AS spans FROM ({' UNION ALL '.join(sources)})"
            with self._lock:
                return json.loads(self._session.query(sql, "JSONEachRow").bytes())
        finally:
            for file in sorted(self._counted.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()


def _write_files(directory: Path, bodies: Iterable[bytes]) -> None:
    held: list[bytes] = []
    size = written = 0
    for body in bodies:
        for piece in unpacked(body):
            held.append(piece)
            size += len(piece)
        if size >= FILE_BYTES:
            (directory / str(written)).write_bytes(b"".join(held))
            held, size, written = [], 0, written + 1
    if held:
        (directory / str(written)).write_bytes(b"".join(held))


def handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    """The HTTP side of a sink."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(read_body(self))

        def _answer(self, body: bytes) -> None:
            try:
                self._reply(200, self._own() if self.path.startswith(OWN) else self._clickhouse(body))
            except (RuntimeError, ValueError, WireError) as error:
                self._reply(500, str(error).encode())

        def _own(self) -> bytes:
            what = self.path.removeprefix(OWN)
            if what == "inserts":
                return json.dumps(asdict(sink.hole.inserts)).encode()
            if what == "count":
                return json.dumps(sink.count()).encode()
            if what not in ("forget", "refuse"):
                raise ValueError(f"{self.path}: expected inserts, count, forget or refuse")
            sink.hole.forget(refusing=what == "refuse")
            return b""

        def _clickhouse(self, body: bytes) -> bytes:
            url = urlsplit(self.path)
            if url.path == "/ping":
                return b"Ok.\n"
            asked = dict(parse_qsl(url.query))
            query = asked.get("query") or body.decode(errors="replace")
            if query.lstrip()[:6].upper() == "INSERT":
                sink.hole.take(query, body, compressed=asked.get("decompress") == "1")
                return b""
            revision, compressed = int(asked.get("client_protocol_version", 0)), asked.get("compress") == "1"
            return sink.answer(query, revision=revision, compressed=compressed)

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


class RunningSink:
    """A sink in a process of its own; `url` is what an agent is given."""

    def __init__(self, port: int, pid: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pid = pid

    def inserts(self) -> Inserts:
        """What came since `forget`."""
        return Inserts(**self._ask("inserts"))

    def count(self) -> dict[str, int]:
        """See `Sink.count`; takes seconds for millions."""
        return self._ask("count")

    def forget(self) -> None:
        """Drop what came, and take what comes."""
        self._open("forget", b"")

    def refuse(self) -> None:
        """Drop what came, and refuse every INSERT until `forget`."""
        self._open("refuse", b"")

    def _ask(self, what: str) -> dict[str, Any]:
        return json.loads(self._open(what))

    def _open(self, what: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"{self.url}{OWN}{what}", data, timeout=300) as answer:
            return answer.read()


@contextlib.contextmanager
def running_sink(path: Path) -> Generator[RunningSink]:
    """Start a sink, and end it with the block."""
    command = [sys.executable, "-m", "benchmarks.peers_sink", "--path", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield RunningSink(int(process.stdout.readline()), process.pid)
        finally:
            process.stdin.close()
            process.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def get_request(self) -> tuple[socket.socket, Any]:
        found, address = super().get_request()
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found, address


def main() -> None:
    """Serve until stdin closes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="an empty directory")
    path = parser.parse_args().path
    path.mkdir(parents=True, exist_ok=True)
    sink = Sink(path)
    server = _Server(("127.0.0.1", 0), handler(sink))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    server.shutdown()
    sink.close()


if __name__ == "__main__":
    main()
