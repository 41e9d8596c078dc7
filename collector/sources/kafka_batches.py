"""Reading Kafka's record batches without an object per message: a chunk of bodies and offsets per batch.

The client's own reader makes a named tuple with a dozen fields of every message; here one loop walks the framing of a
record batch (Kafka protocol, "Record Batch", magic 2) and keeps bodies and offsets only. The class takes the place of
`Fetcher.PartitionRecords`, which is not public: kafka-python is pinned, and a test compares this with `poll()`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel

from collector.sources.pending import Chunk

_Batch = Any
"""`kafka.record.default_records.DefaultRecordBatch` or its legacy sibling."""


def read_raw(consumer: KafkaConsumer) -> None:
    """Make `consumer.poll` give `Chunk`s instead of messages."""
    consumer._fetcher.PartitionRecords = RawPartitionRecords  # pyright: ignore[reportPrivateUsage]


class RawPartitionRecords(Fetcher.PartitionRecords):
    """What one fetch brought of one partition, given out as chunks."""

    def _maybe_skip_record(self, record: Chunk) -> bool:
        del record
        return False

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Generator[Chunk]:
        last: _Batch = None
        while (batch := records.next_batch()) is not None:
            last = batch
            if self.check_crcs and not batch.validate_crc():
                raise kafka_errors.CorruptRecordError(
                    f"record batch of {tp} at offset {batch.base_offset}: bad checksum"
                )
            chunk = self._legacy(batch) if batch.magic < 2 else self._chunk(batch)
            if chunk is not None and len(chunk):
                self.records_read += len(chunk)
                self.bytes_read += len(chunk.buffer)
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
        batch._maybe_uncompress()
        values, offsets = bodies(bytes(batch._buffer), batch._pos, batch.records_count, batch.base_offset)
        return self._from_fetch_offset(values, offsets)

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
        return self._from_fetch_offset([value for value, _ in found], [offset for _, offset in found])

    def _from_fetch_offset(self, values: list[bytes], offsets: list[int]) -> Chunk:
        # A fetch from inside a batch brings the whole batch.
        if offsets and offsets[0] < self.fetch_offset:
            skip = sum(offset < self.fetch_offset for offset in offsets)
            values, offsets = values[skip:], offsets[skip:]
        return Chunk.of(values, offsets)


def bodies(data: bytes, at: int, count: int, base_offset: int) -> tuple[list[bytes], list[int]]:
    """Bodies and offsets of `count` records that stand in `data` from `at` to its end; a missing body is empty.

    Raises:
        CorruptRecordError: the framing does not add up.
    """
    values: list[bytes] = []
    offsets: list[int] = []
    try:
        for _ in range(count):
            # Length, as every number here: zigzag in groups of seven bits, the lowest first.
            byte = data[at]
            at += 1
            number, shift = byte & 127, 7
            while byte > 127:
                byte = data[at]
                at += 1
                number |= (byte & 127) << shift
                shift += 7
            end = at + (number >> 1)
            at += 1  # attributes
            while data[at] > 127:  # timestamp
                at += 1
            at += 1
            byte = data[at]
            at += 1
            number, shift = byte & 127, 7
            while byte > 127:
                byte = data[at]
                at += 1
                number |= (byte & 127) << shift
                shift += 7
            offsets.append(base_offset + (number >> 1))
            byte = data[at]
            at += 1
            number, shift = byte & 127, 7
            while byte > 127:
                byte = data[at]
                at += 1
                number |= (byte & 127) << shift
                shift += 7
            if not number & 1:  # an odd number is -1: no key
                at += number >> 1
            byte = data[at]
            at += 1
            number, shift = byte & 127, 7
            while byte > 127:
                byte = data[at]
                at += 1
                number |= (byte & 127) << shift
                shift += 7
            if number & 1:
                values.append(b"")
            else:
                values.append(data[at : at + (number >> 1)])
                at += number >> 1
            if at > end:
                raise kafka_errors.CorruptRecordError(f"record at {offsets[-1]} is longer than it says")
            at = end  # headers are left out
    except IndexError:
        raise kafka_errors.CorruptRecordError(f"record batch at {base_offset} is cut off") from None
    if at != len(data):
        raise kafka_errors.CorruptRecordError(f"record batch at {base_offset}: {len(data) - at} bytes left over")
    return values, offsets
