"""The driver's connection, with blocks of Arrow arrays in place of its blocks of Python values.

clickhouse-driver keeps what it is good at (handshake, packets, settings, compression, TLS); only the two streams that
read and write blocks are replaced. It is pinned in `pyproject.toml`, as these are its inner seams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from clickhouse_driver import defines
from clickhouse_driver.block import BlockInfo
from clickhouse_driver.connection import Connection
from clickhouse_driver.reader import read_binary_str, read_binary_uint8
from clickhouse_driver.varint import read_varint, write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from storage.native_columns import read_column, write_column

Columns = Sequence[tuple[str, str]]
"""Names and ClickHouse types."""


class ArrowBlock:
    """One block: named and typed columns of equal length. The driver looks at the two properties only."""

    def __init__(self, columns_with_types: Columns, arrays: Sequence[pa.Array], rows: int) -> None:
        self.columns_with_types = list(columns_with_types)
        self.arrays = list(arrays)
        self.num_rows = rows

    @property
    def num_columns(self) -> int:
        """Number of columns."""
        return len(self.columns_with_types)


class _Input:
    """Reads blocks from the driver's (decompressing) reader."""

    def __init__(self, stream: Any) -> None:
        self._source, self._context = stream.fin, stream.context

    def read(self, use_numpy: bool | None = None) -> ArrowBlock:  # noqa: ARG002 - the driver passes it
        """The next block."""
        source, revision = self._source, self._context.server_info.used_revision
        if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            BlockInfo().read(source)
        count, rows = read_varint(source), read_varint(source)
        columns, arrays = list[tuple[str, str]](), list[pa.Array]()
        for _ in range(count):
            columns.append((read_binary_str(source), read_binary_str(source)))
            custom = revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION and bool(read_binary_uint8(source))
            arrays.append(read_column(source, columns[-1][1], rows, custom=custom))
        return ArrowBlock(columns, arrays, rows)


class _Output:
    """Writes blocks to the driver's (compressing) writer."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, block: Any) -> None:
        """Send one block; the driver's own empty blocks too."""
        if not isinstance(block, ArrowBlock):
            self._stream.write(block)
            return
        sink, revision = self._stream.fout, self._stream.context.server_info.used_revision
        if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            BlockInfo().write(sink)
        write_varint(block.num_columns, sink)
        write_varint(block.num_rows, sink)
        for (name, kind), array in zip(block.columns_with_types, block.arrays, strict=True):
            write_binary_str(name, sink)
            write_binary_str(kind, sink)
            if revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION:
                write_binary_uint8(0, sink)
            sink.write(write_column(kind, array))
        self._stream.finalize()


class ArrowConnection(Connection):
    """A connection whose data packets hold `ArrowBlock`s."""

    def get_block_in_stream(self) -> Any:
        """Called by the driver after the handshake."""
        return _Input(super().get_block_in_stream())

    def get_block_out_stream(self) -> Any:
        """Called by the driver after the handshake."""
        return _Output(super().get_block_out_stream())
