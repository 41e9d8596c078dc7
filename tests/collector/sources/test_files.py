"""Files: what was read stays read, rotation loses nothing, compressed and binary files are whole."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard

from collector.clock import Clock, SystemClock
from collector.errors import BadSource, SourceBroken, SourceUnavailable
from collector.sources.files import FileSource
from collector.sources.source import Bounds, Cut
from collector.sources.urls import FileUrl
from tests.support.poll import poll

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Remembered:
    """Positions in memory, as `BoundsBook` keeps them in the store."""

    def __init__(self) -> None:
        self.bounds: dict[str, list[Bounds]] = {}
        self.positions: dict[str, int] = {}

    def recorded(self, topic_id: str, partition: int, position: int, /) -> Sequence[Bounds]:
        return [bounds for bounds in self.bounds.get(topic_id, []) if bounds.last >= position]

    def committed(self, topic_id: str, /) -> int:
        return self.positions.get(topic_id, 0)

    def commit(self, cluster_id: str, topic: str, topic_id: str, position: int, at: datetime, /) -> None:
        self.positions[topic_id] = position


class Reading:
    """A source and what came out of it."""

    def __init__(
        self,
        path: str,
        memory: Remembered,
        *,
        follow: bool = False,
        size: int = 1 << 20,
        format: str = "auto",
        clock: Clock | None = None,
        quiet_s: float = 0,
    ):
        self.memory = memory
        self.lines: list[bytes] = []
        self.source = FileSource(
            FileUrl(path, format, follow),
            memory,
            clock or SystemClock(),
            batch_bytes=size,
            batch_age_s=0,
            unfinished_line_s=quiet_s,
        )

    def step(self, *, store: bool = True) -> list[Cut]:
        cuts = self.source.poll(0.01, room=True)
        for cut in cuts:
            if cut.bounds is None:
                batch = cut.batch
                self.memory.bounds.setdefault(batch.topic_id, []).append(Bounds(batch.first, batch.last, AT, "d/1"))
            self.lines += cut.batch.values.to_pylist()
            if store:
                self.source.stored(cut)
        return cuts

    def to_the_end(self) -> list[bytes]:
        poll(lambda: not self.step() and self.source.finished, "end of files", 20, every_s=0)
        self.close()
        return self.lines

    def until(self, count: int) -> None:
        poll(lambda: self.step() is None or len(self.lines) >= count, f"{count} lines", 20, every_s=0.01)

    def close(self) -> None:
        self.source.commit(final=True)
        self.source.close()


def read(
    path: str | Path, memory: Remembered | None = None, *, size: int = 1 << 20, format: str = "auto"
) -> list[bytes]:
    return Reading(str(path), memory or Remembered(), size=size, format=format).to_the_end()


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(first, last))


def test_a_second_reading_gives_only_what_is_new(tmp_path: Path) -> None:
    file, memory = tmp_path / "a.log", Remembered()
    file.write_bytes(numbered(0, 100))
    assert b"".join(read(file, memory, size=1024)) == numbered(0, 100)
    assert read(file, memory) == []
    with file.open("ab") as out:
        out.write(numbered(100, 110))
    assert b"".join(read(file, memory)) == numbered(100, 110)


def test_positions_are_bytes(tmp_path: Path) -> None:
    file, memory = tmp_path / "a.log", Remembered()
    file.write_bytes(b"one\n\ntwo\r\n\r\nthree")
    reading = Reading(str(file), memory)
    (cut,) = reading.step()
    assert cut.batch.offsets.to_pylist() == [0, 5, 12]
    assert (cut.batch.first, cut.batch.last) == (0, 16)
    reading.close()


def test_a_crash_cuts_the_recorded_batches_again(tmp_path: Path) -> None:
    file, memory = tmp_path / "a.log", Remembered()
    file.write_bytes(numbered(0, 500))
    crashed = Reading(str(file), memory, size=1024)
    for _ in range(3):
        crashed.step(store=False)
    crashed.source.close()
    (topic_id,) = memory.bounds
    before = list(memory.bounds[topic_id])
    again = Reading(str(file), memory, size=4096)
    cuts = [cut for _ in range(3) for cut in again.step()]
    assert [cut.bounds for cut in cuts] == before
    assert [(cut.batch.first, cut.batch.last) for cut in cuts] == [(bounds.first, bounds.last) for bounds in before]
    assert b"".join(again.to_the_end()) == numbered(0, 500)


def test_rename_is_not_a_new_file(tmp_path: Path) -> None:
    memory = Remembered()
    (tmp_path / "a.log").write_bytes(numbered(0, 10))
    read(tmp_path / "a.log*", memory)
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    (tmp_path / "a.log").write_bytes(numbered(10, 20))
    assert b"".join(read(tmp_path / "a.log*", memory)) == numbered(10, 20)


def test_a_file_written_anew_is_another_one(tmp_path: Path) -> None:
    file, memory = tmp_path / "a.log", Remembered()
    file.write_bytes(numbered(0, 10))
    read(file, memory)
    file.write_bytes(numbered(50, 60))
    assert b"".join(read(file, memory)) == numbered(50, 60)


def test_files_of_equal_content_are_two(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(numbered(0, 3))
    assert len(read(tmp_path / "*.log")) == 6


@pytest.mark.parametrize("size", [64, 1 << 20])
def test_follow_through_rotation_and_truncation(tmp_path: Path, size: int) -> None:
    file = tmp_path / "a.log"
    reading = Reading(str(file), Remembered(), follow=True, size=size)
    file.write_bytes(numbered(0, 10) + b"half")
    reading.until(10)
    with file.open("ab") as out:
        out.write(b" line\n")
    reading.until(11)
    # Rename and create, with a last line written to the old file afterwards.
    file.rename(tmp_path / "a.log.1")
    with (tmp_path / "a.log.1").open("ab") as out:
        out.write(b"late\n")
        out.flush()
        reading.until(12)
        file.write_bytes(numbered(20, 30))
        reading.until(22)
        out.write(b"later\n")
    reading.until(23)
    # Copy and truncate.
    shutil.copy(file, tmp_path / "a.log.2")
    os.truncate(file, 0)
    for _ in range(5):
        reading.step()
    with file.open("ab") as out:
        out.write(numbered(40, 45))
    reading.until(28)
    reading.close()
    expected = numbered(0, 10) + b"half line\nlate\n" + numbered(20, 30) + b"later\n" + numbered(40, 45)
    assert b"".join(reading.lines) == expected


def test_follow_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    reading = Reading(str(tmp_path / "*.log"), Remembered(), follow=True)
    assert reading.step() == []
    (tmp_path / "new.log").write_bytes(numbered(0, 2))
    reading.until(2)
    reading.close()


def test_until_idle_ends_a_follow(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"no line end")
    url = FileUrl(str(tmp_path / "a.log"), "auto", follow=True)
    source = FileSource(url, Remembered(), SystemClock(), batch_bytes=100, until_idle=True)
    (cut,) = source.poll(0, room=True)
    source.stored(cut)
    poll(lambda: not source.poll(0, room=True) and source.finished, "end", 30)
    source.close()
    assert cut.batch.values.to_pylist() == [b"no line end"]


def test_a_file_that_goes_on_growing_comes_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(numbered(0, 3))
    reading = Reading(str(file), Remembered())
    for number in range(3, 100):
        append(file, numbered(number, number + 1))
        if reading.source.finished:
            break
        reading.step()
    assert reading.source.finished
    assert 3 <= len(reading.lines) < 50
    assert reading.lines == numbered(0, len(reading.lines)).splitlines(keepends=True)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize(("kept", "told"), [(-20, True), (None, False)])
def test_a_stream_that_is_cut_off_is_told(
    tmp_path: Path, compress: Callable[[bytes], bytes], kept: int | None, told: bool
) -> None:
    file, notices = tmp_path / "a.log.gz", list[str]()
    file.write_bytes(compress(numbered(0, 1000))[:kept])
    source = FileSource(
        FileUrl(str(file), "auto", False), Remembered(), SystemClock(), batch_bytes=1 << 20, notice=notices.append
    )
    while not source.finished:
        for cut in source.poll(0.01, room=True):
            source.stored(cut)
    source.close()
    assert [f"{file}: ends inside its compressed stream" in notice for notice in notices] == [True] * told


class Ahead(SystemClock):
    """The machine's clock, put forward by hand."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as out:
        out.write(data)


@pytest.mark.parametrize("before", [b"", numbered(0, 3)])
def test_a_half_written_last_line_is_waited_for(tmp_path: Path, before: bytes) -> None:
    file, memory = tmp_path / "a.log", Remembered()
    file.write_bytes(before + b"half")
    reading = Reading(str(file), memory, clock=Ahead(), quiet_s=60)
    for _ in range(3):
        reading.step()
        assert not reading.source.finished
    assert b"".join(reading.lines) == before
    append(file, b" line\nbegun later")
    assert b"".join(reading.to_the_end()) == before + b"half line\n"
    # The next run takes up where this one stopped: it is the same file, also when all that was there was half a line.
    append(file, b", and ended\n")
    assert read(file, memory) == [b"begun later, and ended\n"]


@pytest.mark.parametrize("before", [b"", numbered(0, 3)])
def test_a_last_line_that_stays_without_its_end_is_read(tmp_path: Path, before: bytes) -> None:
    file, clock = tmp_path / "a.log", Ahead()
    file.write_bytes(before + b"[2026] GET /")
    os.utime(file, (time.time() + 1000, time.time() + 1000))  # a clock that is wrong keeps nobody waiting
    reading = Reading(str(file), Remembered(), clock=clock, quiet_s=60)
    reading.step()
    reading.step()
    assert b"".join(reading.lines) == before
    clock.ahead_s = 60
    assert b"".join(reading.to_the_end()) == before + b"[2026] GET /"


def test_what_is_complete_is_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "new.json").write_bytes(b'{"a": {"b": "}"}}')
    (tmp_path / "old.log").write_bytes(b"no line end")
    os.utime(tmp_path / "old.log", (1e9, 1e9))
    (tmp_path / "new.gz").write_bytes(gzip.compress(b"no line end either"))
    reading = Reading(str(tmp_path / "*"), Remembered(), clock=Ahead(), quiet_s=300)
    assert sorted(reading.to_the_end()) == [b"no line end", b"no line end either", b'{"a": {"b": "}"}}']


@pytest.mark.parametrize("before", [b"", numbered(0, 3)])
def test_a_last_line_that_grows_and_grows_is_left_for_another_run(tmp_path: Path, before: bytes) -> None:
    file, memory, clock = tmp_path / "a.log", Remembered(), Ahead()
    file.write_bytes(before + b"x")
    reading = Reading(str(file), memory, clock=clock, quiet_s=60)
    reading.step()
    for _ in range(20):
        append(file, b"x")
        clock.ahead_s += 50
        os.utime(file, (time.time() + clock.ahead_s, time.time() + clock.ahead_s))
        reading.step()
    assert b"".join(reading.to_the_end()) == before
    append(file, b"\n")
    assert read(file, memory) == [b"x" * 21 + b"\n"]


def test_compressed_files(tmp_path: Path) -> None:
    memory = Remembered()
    (tmp_path / "a.gz").write_bytes(gzip.compress(numbered(0, 50)) + gzip.compress(numbered(50, 60)) + b"\0" * 9)
    (tmp_path / "b.zst").write_bytes(zstandard.ZstdCompressor().compress(numbered(60, 80)))
    (tmp_path / "c.xz").write_bytes(lzma.compress(numbered(80, 90)) + b"\0" * 8 + lzma.compress(numbered(90, 99)))
    assert b"".join(sorted(read(tmp_path / "*", memory, size=100))) == numbered(0, 99)
    assert read(tmp_path / "*", memory) == []


def test_a_damaged_compressed_file_loses_no_other_file(tmp_path: Path) -> None:
    good = gzip.compress(numbered(0, 5000))
    (tmp_path / "a.gz").write_bytes(good[:200] + b"\0" * 50 + good[250:])
    (tmp_path / "b.log").write_bytes(numbered(0, 3))
    reading = Reading(str(tmp_path / "*"), Remembered())
    with pytest.raises(SourceBroken, match=r"a\.gz at byte \d+"):
        reading.to_the_end()
    assert reading.lines[-3:] == numbered(0, 3).splitlines(keepends=True)
    reading.close()


def test_an_xz_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(numbered(0, 3)))
    data[16] = 36  # the size of its dictionary: 1 GiB
    data[20:24] = zlib.crc32(data[12:20]).to_bytes(4, "little")
    (tmp_path / "a.xz").write_bytes(data)
    with pytest.raises(SourceBroken, match=r"a\.xz at byte 0: Memory usage limit exceeded, expected intact data"):
        read(tmp_path / "a.xz")


@pytest.mark.parametrize(
    ("begin", "kind"), [(bz2.compress(b"x"), "bzip2"), (b"PK\x03\x04rest", "zip"), (b"\x04\x22\x4d\x18rest", "lz4")]
)
def test_other_compressions_are_named(tmp_path: Path, begin: bytes, kind: str) -> None:
    (tmp_path / "a").write_bytes(begin)
    (tmp_path / "b.log").write_bytes(numbered(0, 3))
    reading = Reading(str(tmp_path / "*"), Remembered())
    with pytest.raises(SourceBroken, match=rf"a: compressed with {kind}, expected gzip, zstd, xz or no compression$"):
        reading.to_the_end()
    assert reading.lines == numbered(0, 3).splitlines(keepends=True)
    reading.close()


def test_a_compressed_file_that_is_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(3000).hex().encode() + b"\n")[:-20])
    assert sum(map(len, read(tmp_path / "a.gz"))) > 5000


def test_a_line_longer_than_a_batch(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"x" * 5000 + b"\n" + b"short\n")
    lines = read(tmp_path / "a.log", size=1024)
    assert b"".join(lines) == b"x" * 5000 + b"\n" + b"short\n"
    assert lines[-1] == b"short\n"


def test_binary_files_are_whole(tmp_path: Path) -> None:
    (tmp_path / "a.pb").write_bytes(b"\x0a\x03a\nb")
    (tmp_path / "b.pb").write_bytes(b"\x00\x00\x00\x02\x0a\n" + b"\x00\x00\x00\x01z")
    assert read(tmp_path / "*.pb", format="otlp_proto", size=2) == [b"\x0a\x03a\nb", b"\x0a\n", b"z"]


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()
    assert read(tmp_path / "a.log") == []


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no file there"):
        Reading(str(tmp_path / "none"), Remembered())


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.log").write_bytes(b"x\n")

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceUnavailable, match="Permission denied"):
        Reading(str(tmp_path / "a.log"), Remembered()).to_the_end()


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.log").write_bytes(b"%d\n" % number)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert len(read(tmp_path / "*.log")) == 100
    assert len(list(Path("/proc/self/fd").iterdir())) == before
