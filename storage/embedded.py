"""ClickHouse inside this process (chDB): the default engine, nothing to install or start.

chDB allows one process for each data directory, and one directory at a time in each process; this module says so in
clear words. A session of chDB runs one query at a time, so an engine keeps a pool of them, all on the same directory.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from storage.arrow_types import quoted, structure
from storage.batches import TableShapes, fitted
from storage.bind import bind
from storage.engine import Settings
from storage.errors import BadBatch, BadLocation, EngineUnavailable, StorageError, StoreFull, StoreHeld, StoreUnwritable
from storage.lock import NAME as LOCK_NAME
from storage.lock import StoreLock, held_elsewhere
from storage.refusals import one_line, refusal
from storage.results import normalise
from storage.torn_inserts import forget_torn_inserts

if TYPE_CHECKING:
    from chdb.session import Session

DATABASE = "eastwatch"
MAX_CONNECTIONS = 16
MAX_BATCH_ROWS = 100_000_000
_FORBIDDEN = set("?#%&\n\0")
_OWN_FILES = {LOCK_NAME, "metadata", "store", "data", "tmp", "status", "eastwatch.sock"}

_log = logging.getLogger(__name__)
_process = threading.Lock()
_open_path: list[Path] = []


def default_memory_bytes() -> int:
    """Half of the memory that this machine (or its control group) has, at least 1 GiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return max(total // 2, 1 << 30)


class EmbeddedEngine:
    """A store in the directory `path`, held by this process from construction to `close`.

    `memory_bytes` bounds what the engine takes in all (default: half of the machine's memory); one query gets at most
    four fifths of it, and large groupings and sorts go to disk at a quarter.

    Raises:
        StoreHeld: another process, or this one, holds the store already.
        StoreUnwritable: the directory cannot be created or written, or is no store.
        BadLocation: the path cannot be one, or this process holds another store.
    """

    def __init__(self, path: str | Path, *, memory_bytes: int | None = None) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        if _FORBIDDEN & set(str(self.path)):
            raise BadLocation(f"chdb:{self.path}: a store's path cannot contain any of ? # % &")
        self._memory_bytes = memory_bytes or default_memory_bytes()
        self._closed = False
        self._gate = threading.Condition()
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._busy = 0
        self._before_close: list[Callable[[], None]] = []
        self._lock = StoreLock(self.path)
        self._shapes = TableShapes(self.query)
        with _process:
            _prepare(self.path)
            self._lock.take()
            if _open_path:
                self._lock.release()
                raise BadLocation(
                    f"chdb:{self.path}: this process already holds chdb:{_open_path[0]}; one embedded store at a time"
                )
            try:
                if held_elsewhere(self.path / "status"):
                    raise StoreHeld(
                        f"chdb:{self.path} is open in another process that is not eastwatch; close it there first"
                    )
                if torn := forget_torn_inserts(self.path):
                    _log.warning("%s: %d tokens without rows forgotten: a kill tore inserts apart", self.location, torn)
                first = self._connect(create=True)
            except BaseException:
                self._lock.release()
                raise
            # Never used: when its last session closes, chDB unloads every table, and the next one loads them again.
            self._keeper = first
            _open_path.append(self.path)

    @property
    def location(self) -> str:
        """`chdb:PATH`."""
        return f"chdb:{self.path}"

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """See `Engine.query`."""
        bound = bind(sql, parameters)
        with self._session(settings, external) as session:
            try:
                table = _table(session.query(sql, "Arrow", params=bound))
                return normalise(table, lambda: _describe(session, sql, bound))
            except RuntimeError as error:
                raise refusal(str(error), self.location) from None

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """See `Engine.insert`."""
        if batch.num_rows:
            rows = fitted(table, batch, self._shapes.of(table))
            self.insert_into(quoted(table), rows, {"insert_deduplication_token": token or ""})

    def insert_into(self, target: str, rows: pa.Table, settings: Settings | None = None) -> None:
        """Insert `rows` into `target`, a table's name as SQL, as one block."""
        if rows.num_rows == 0:
            return
        if rows.num_rows > MAX_BATCH_ROWS:
            raise BadBatch(f"a batch of {rows.num_rows} rows for {target}: at most {MAX_BATCH_ROWS} expected")
        columns = ", ".join(quoted(name) for name in rows.schema.names)
        clause = ", ".join(
            f"{quoted(k)} = {literal(v)}" for k, v in {"max_insert_threads": 1, **(settings or {})}.items()
        )
        # chDB finds the table among the caller's variables by this name.
        eastwatch_batch = rows
        with self._session() as session:
            try:
                session.query(
                    f"INSERT INTO {target} ({columns}) SETTINGS {clause} SELECT {columns} FROM Python(eastwatch_batch)",
                    "Null",
                )
            except RuntimeError as error:
                raise refusal(str(error), self.location) from None
        del eastwatch_batch

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """See `Engine.execute`."""
        bound = bind(sql, parameters)
        self._shapes.forget()
        with self._session(settings) as session:
            try:
                session.query(sql, "Null", params=bound)
            except RuntimeError as error:
                raise refusal(str(error), self.location) from None

    def run(
        self,
        sql: str,
        bound: Mapping[str, str],
        *,
        format: str,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
        data: bytes | None = None,
    ) -> bytes:
        """Run any statement with parameters that are bound already, and return its output in ClickHouse's `format`.

        With `data`, `sql` is an `INSERT INTO ...` without its FORMAT clause and `data` its rows in `format`.

        Raises:
            RuntimeError: ClickHouse's own message, for whoever passes it on as it is.
        """
        with self._session(settings, external) as session:
            if data is None:
                return session.query(sql, format, params=dict(bound)).bytes()
            with session.send_insert(sql, format) as insert:
                insert.append(data)
                insert.finish()
            return b""

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` called once at the beginning of `close`."""
        self._before_close.append(action)

    def close(self) -> None:
        """Wait for running statements, however long they take, close the store and give its lock back."""
        while self._before_close:
            self._before_close.pop()()
        with self._gate:
            if self._closed:
                return
            self._closed = True
            while self._busy:
                self._gate.wait()
        with _process:
            while not self._idle.empty():
                self._idle.get_nowait().close()
            self._keeper.close()
            _open_path.clear()
            self._lock.release()

    @contextmanager
    def _session(
        self, settings: Settings | None = None, external: Mapping[str, pa.Table] | None = None
    ) -> Generator[Session]:
        """A session of this thread's own for a while. One that was changed is not used again."""
        with self._gate:
            if self._closed:
                raise EngineUnavailable(f"{self.location} has been closed by this process")
            self._busy += 1
        self._slots.acquire()
        session: Session | None = None
        fresh = not settings and not external
        try:
            try:
                session = self._idle.get_nowait()
            except queue.Empty:
                session = self._connect()
            try:
                _change(session, settings, external)
            except RuntimeError as error:
                raise refusal(str(error), self.location) from None
            yield session
        except BaseException:
            # After a failure chDB puts what the failed statement had written before the next result.
            fresh = False
            raise
        finally:
            if session is not None:
                if fresh:
                    self._idle.put(session)
                else:
                    session.close()
            self._slots.release()
            with self._gate:
                self._busy -= 1
                self._gate.notify_all()

    def _connect(self, *, create: bool = False) -> Session:
        from chdb.session import Session  # a second of import that other engines need not pay

        memory = self._memory_bytes
        try:
            # Server settings count for the first session of a directory only.
            session = Session(f"{self.path}?max_server_memory_usage={memory}&mark_cache_size={memory // 8}")
            if create:
                session.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
            session.query(f"USE {DATABASE}")
            session.query("SET " + ", ".join(f"{k} = {literal(v)}" for k, v in _session_settings(memory).items()))
        except RuntimeError as error:
            raise _opening_failed(self.path, str(error)) from None
        return session


def _session_settings(memory_bytes: int) -> Settings:
    return {
        "session_timezone": "UTC",
        "async_insert": 0,
        "deduplicate_blocks_in_dependent_materialized_views": 1,
        "max_memory_usage": memory_bytes // 5 * 4,
        "max_bytes_before_external_group_by": memory_bytes // 4,
        "max_bytes_before_external_sort": memory_bytes // 4,
        # One batch, one block: the source's blocks are put together up to these sizes.
        "min_insert_block_size_rows": MAX_BATCH_ROWS,
        "min_insert_block_size_bytes": 0,
        "min_insert_block_size_rows_for_materialized_views": MAX_BATCH_ROWS,
        # Compiling expressions costs more than it saves: our statements run for a fraction of a second.
        "compile_expressions": 0,
        "compile_aggregate_expressions": 0,
        "compile_sort_description": 0,
        # Nor does deriving further comparisons from chains of them: a third of the planning of our longer statements.
        "optimize_and_compare_chain": 0,
        "output_format_arrow_compression_method": "none",
        "output_format_arrow_string_as_string": 1,
        "output_format_arrow_low_cardinality_as_dictionary": 0,
        "output_format_arrow_date_as_uint16": 0,
        "output_format_arrow_uuid_as_fixed_byte_array": 1,
    }


def literal(value: str | int | float) -> str:
    """A setting's value as SQL."""
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value) if isinstance(value, float) else str(int(value))


def _change(session: Session, settings: Settings | None, external: Mapping[str, pa.Table] | None) -> None:
    if settings:
        session.query("SET " + ", ".join(f"{quoted(name)} = {literal(value)}" for name, value in settings.items()))
    for name, eastwatch_external in (external or {}).items():
        columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in structure(eastwatch_external.schema))
        session.query(f"CREATE TEMPORARY TABLE {quoted(name)} ({columns}) ENGINE = Memory")
        if eastwatch_external.num_rows:
            chosen = ", ".join(quoted(column) for column in eastwatch_external.schema.names)
            session.query(f"INSERT INTO {quoted(name)} ({chosen}) SELECT {chosen} FROM Python(eastwatch_external)")


def _table(result: Any) -> pa.Table:
    """A result in chDB's memory as a table on that memory, which lives as long as the table."""
    if result.size() == 0:
        return pa.table({})
    view = result.get_memview()
    address = np.frombuffer(view.view(), np.uint8).ctypes.data
    memory = pa.foreign_buffer(address, result.size(), base=(result, view))
    return pa.ipc.open_file(memory).read_all()


def _describe(session: Session, sql: str, bound: Mapping[str, str]) -> dict[str, str]:
    described = _table(session.query(f"DESCRIBE TABLE ({sql}\n)", "Arrow", params=dict(bound)))
    return dict(zip(described["name"].to_pylist(), described["type"].to_pylist(), strict=True))


def _prepare(path: Path) -> None:
    """Make sure that `path` is a writable directory, and empty or a store."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o750)
        present = {entry.name for entry in path.iterdir()}
    except (FileExistsError, NotADirectoryError):
        raise StoreUnwritable(f"chdb:{path}: a file is in the way; a directory expected") from None
    except OSError as error:
        raise StoreUnwritable(f"chdb:{path}: cannot be created or read: {error.strerror}") from None
    if present and not present & _OWN_FILES:
        raise StoreUnwritable(f"chdb:{path}: the directory holds other files; an empty one or a store expected")
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreUnwritable(f"chdb:{path}: no right to write in this directory")


def _opening_failed(path: Path, text: str) -> StorageError:
    if "No space left on device" in text:
        return StoreFull(f"chdb:{path}: no space left on the disk")
    if "filesystem error" in text or "Permission denied" in text or "Read-only file system" in text:
        return StoreUnwritable(f"chdb:{path}: cannot be written: {one_line(text)[:300]}")
    return EngineUnavailable(f"chdb:{path} cannot be opened: {one_line(text)[:500]}")
