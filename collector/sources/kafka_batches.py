"""Reading Kafka's record batches without an object per message: a chunk of bodies and offsets per batch.

The client's own reader makes a named tuple with a dozen fields of every message; here one loop walks the lengths of a
record batch's records (Kafka protocol, "Record Batch", magic 2), and what stands in them is read in whole columns.
Bodies stay where they came. The class takes the place of `Fetcher.PartitionRecords`, which is not public: kafka-python
is pinned, and a test compares this with `poll()`.

What is compressed is inflated when it is taken, batch by batch: `poll(max_records=N)` takes until what was taken keeps
N bytes of memory, and leaves the rest of its fetch as it came.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords

from collector.sources.inflate import Broken, TooLarge, inflate
from collector.sources.pending import Chunk

Positions = npt.NDArray[np.int64]
VARINT_BYTES = 5
VARLONG_BYTES = 10
RECORD_BYTES = 128
"""Memory that one record takes beside its content, while the lengths of its batch are walked."""
LIMIT_BYTES = 256 << 20

_log = logging.getLogger(__name__)


class _Batch(DefaultRecordBatch):
    """The client's batch, without the copy that it makes of its bytes."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer: Any = buffer
        self._header_data = self.HEADER_STRUCT.unpack_from(buffer)
        self._pos = self.HEADER_STRUCT.size
        self._num_records = self._header_data[12]
        self._next_record_index = 0
        self._decompressed = False

    def content(self, limit: int) -> tuple[bytes | memoryview, int]:
        """The records, inflated, and where they begin in it.

        Raises:
            TooLarge: taken apart they take more than `limit` bytes of memory.
            CorruptRecordError: they cannot be inflated.
        """
        left = limit - self.records_count * RECORD_BYTES
        if left < 0:
            raise TooLarge
        if self.compression_type == self.CODEC_NONE:
            return self._buffer, self._pos
        try:
            return inflate(self._buffer[self._pos :], self.compression_type, left), 0
        except Broken as error:
            raise kafka_errors.CorruptRecordError(
                f"record batch at offset {self.base_offset}, compressed: {error}"
            ) from None


def _next_batch(records: Any) -> Any:
    """The next batch of `records`; None behind the last one."""
    piece: memoryview | None = records._next_slice
    if piece is None or len(piece) <= MemoryRecords.MAGIC_OFFSET or piece[MemoryRecords.MAGIC_OFFSET] < 2:
        return records.next_batch()
    if len(piece) < DefaultRecordBatch.HEADER_STRUCT.size:
        raise kafka_errors.CorruptRecordError(f"a record batch of {len(piece)} bytes is shorter than its header")
    records._cache_next()
    return _Batch(piece)


def read_raw(
    consumer: KafkaConsumer, limit_bytes: int = LIMIT_BYTES, refused: Callable[[str], None] = _log.warning
) -> None:
    """Make `consumer.poll` give `Chunk`s instead of messages, and count their bytes against its `max_records`.

    Args:
        consumer: whose reader is replaced.
        limit_bytes: a record batch that takes more memory than this is not taken apart; one message stands for it, at
            its first offset, and says so. No decoder knows it: it becomes a dead letter.
        refused: hears what such a message says.
    """
    fetcher = consumer._fetcher  # pyright: ignore[reportPrivateUsage]
    append = fetcher._append

    def append_bytes(drained: Any, part: RawPartitionRecords, room_bytes: int, update_offsets: bool) -> int:
        before = part.taken_bytes
        append(drained, part, room_bytes, update_offsets)
        return part.taken_bytes - before

    fetcher._append = append_bytes
    fetcher.PartitionRecords = partial(RawPartitionRecords, limit_bytes, refused)


class RawPartitionRecords(Fetcher.PartitionRecords):
    """What one fetch brought of one partition, given out as chunks."""

    def __init__(self, limit_bytes: int, refused: Callable[[str], None], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limit_bytes = limit_bytes
        self._refused = refused
        self.taken_bytes = 0
        """What the chunks that were given out keep in memory."""

    def take(self, n: int | None = None) -> list[Chunk]:
        """The next chunks, until they keep `n` bytes in memory; at least one, unless there is none."""
        if error := self._next_inline_exception:
            self.drain()  # its generator has ended: whoever asked on would ask for ever
            raise error
        chunks: list[Chunk] = []
        until = self.taken_bytes + (n or 1)
        try:
            for chunk in self.record_iterator or ():
                chunks.append(chunk)
                self.taken_bytes += chunk.held_bytes
                if self.taken_bytes >= until:
                    break
        except Exception as error:
            if not chunks:
                self.drain()
                raise
            self._next_inline_exception = error
        return chunks

    def _maybe_skip_record(self, record: Chunk) -> bool:
        del record
        return False

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Generator[Chunk]:
        last: Any = None
        while (batch := _next_batch(records)) is not None:
            last = batch
            if self.check_crcs and not batch.validate_crc():
                raise kafka_errors.CorruptRecordError(
                    f"record batch of {tp} at offset {batch.base_offset}: bad checksum"
                )
            chunk = self._legacy(batch) if batch.magic < 2 else self._chunk(batch)
            if chunk is not None and len(chunk):
                self.records_read += len(chunk)
                self.bytes_read += chunk.size_bytes
                yield chunk
        # A compacted batch keeps its last offset: the next fetch begins behind it, or it would find the same one again.
        if last is not None and last.magic == 2:
            self.next_fetch_offset = last.next_offset
        self.drain()

    def _chunk(self, batch: _Batch) -> Chunk | None:
        self.leader_epoch = batch.leader_epoch
        self.next_fetch_offset = batch.next_offset
        if self._is_hidden(batch):
            return None
        try:
            content, at = batch.content(self._limit_bytes)
        except TooLarge:
            return self._stand_in(batch)
        starts, ends, offsets = bodies(content, at, batch.records_count, batch.base_offset)
        # A fetch from inside a batch brings the whole batch.
        skip = int(np.count_nonzero(offsets < self.fetch_offset))
        return Chunk(content, starts[skip:], ends[skip:], offsets[skip:])

    def _stand_in(self, batch: _Batch) -> Chunk:
        at = f"{self.topic_partition.topic}[{self.topic_partition.partition}]"
        said = (
            f"eastwatch: record batch of {at} refused, offsets {batch.base_offset} to {batch.last_offset}: its"
            f" {batch.size_in_bytes} bytes and {batch.records_count} records would take more than"
            f" {self._limit_bytes >> 20} MiB of memory; the limit follows ingest.memory_bytes"
        )
        self._refused(said)
        return Chunk.of([said.encode()], [max(batch.base_offset, self.fetch_offset)])

    def _is_hidden(self, batch: _Batch) -> bool:
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return batch.is_control_batch

    def _legacy(self, batch: _Batch) -> Chunk | None:
        found = [(record.value or b"", record.offset) for record in batch]
        if not found:
            return None
        self.next_fetch_offset = found[-1][1] + 1
        wanted = [(value, offset) for value, offset in found if offset >= self.fetch_offset]
        return Chunk.of([value for value, _ in wanted], [offset for _, offset in wanted])


def bodies(data: bytes | memoryview, at: int, count: int, base_offset: int) -> tuple[Positions, Positions, Positions]:
    """Where the bodies of `count` records stand in `data`, which has them from `at` to its end, and their offsets.

    A body that is missing is empty.

    Raises:
        CorruptRecordError: the framing does not add up.
    """
    firsts, ends = _records(data, at, count, base_offset)
    content = np.frombuffer(data, np.uint8)
    reader = _Reader(content, firsts + 1)  # attributes
    reader.skip_varlong()  # timestamp
    offsets = base_offset + reader.varint()
    key_bytes = reader.varint()
    reader.at += np.maximum(key_bytes, 0)  # -1: no key
    sizes = np.maximum(reader.varint(), 0)
    starts = reader.at
    wrong = reader.wrong | (starts + sizes > ends)
    if wrong.any():
        raise kafka_errors.CorruptRecordError(f"record at {offsets[wrong.argmax()]} is longer than it says")
    return starts, starts + sizes, offsets  # headers are left out


def _records(data: bytes | memoryview, at: int, count: int, base_offset: int) -> tuple[Positions, Positions]:
    """Where each record begins behind its length, and where it ends."""
    firsts: list[int] = []
    ends: list[int] = []
    size = len(data)
    try:
        for _ in range(count):
            # Length, as every number here: zigzag in groups of seven bits, the lowest first.
            byte = data[at]
            at += 1
            number = byte & 127
            if byte > 127:
                byte = data[at]
                at += 1
                number |= (byte & 127) << 7
                shift = 14
                while byte > 127:
                    byte = data[at]
                    at += 1
                    number |= (byte & 127) << shift
                    shift += 7
            firsts.append(at)
            at += number >> 1
            ends.append(at)
            if at > size:
                break
    except IndexError:
        at = size + 1
    if at > size:
        raise kafka_errors.CorruptRecordError(f"record batch at {base_offset} is cut off")
    if at != size:
        raise kafka_errors.CorruptRecordError(f"record batch at {base_offset}: {size - at} bytes left over")
    return np.array(firsts, np.int64), np.array(ends, np.int64)


class _Reader:
    """Reads one number of every record at once. Beyond the content stands its last byte; whoever reads it is wrong."""

    def __init__(self, content: npt.NDArray[np.uint8], at: Positions) -> None:
        self._content = content
        self.at = at
        """Where each record is read next."""
        self.wrong = np.zeros(len(at), bool)
        """Records with a number of too many bytes."""

    def _bytes(self) -> npt.NDArray[np.uint8]:
        return self._content.take(self.at, mode="clip") if len(self.at) else np.zeros(0, np.uint8)

    def varint(self) -> Positions:
        """The next number of each record."""
        byte = self._bytes()
        self.at = self.at + 1
        number = (byte & 127).astype(np.int64)
        more, shift = byte > 127, 7
        while more.any() and shift < 7 * VARINT_BYTES:
            byte = self._bytes()
            number |= np.where(more, (byte & 127).astype(np.int64) << shift, 0)
            self.at = self.at + more
            more &= byte > 127
            shift += 7
        self.wrong |= more
        return (number >> 1) ^ -(number & 1)

    def skip_varlong(self) -> None:
        """Pass over the next number of each record, of up to ten bytes."""
        more = self._bytes() > 127
        self.at = self.at + 1
        for _ in range(VARLONG_BYTES - 1):
            if not more.any():
                return
            self.at = self.at + more
            more = more & (self._content.take(self.at - 1, mode="clip") > 127)
        self.wrong |= more
