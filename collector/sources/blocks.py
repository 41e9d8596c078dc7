"""Reading a file in blocks: plain or compressed (gzip, zstd, xz), positions counted in uncompressed bytes."""

from __future__ import annotations

import lzma
import os
import zlib
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from collector.errors import SourceBroken

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_XZ = b"\xfd7zXZ\0"
_UNREAD = ((b"BZh", "bzip2"), (b"PK\x03\x04", "zip"), (b"\x04\x22\x4d\x18", "lz4"))
_GZIP_WINDOW = 31
_XZ_MEMORY = 256 << 20
"""xz -9 wants 65 MiB; a stream may ask for 4 GiB."""
_READ_BYTES = 1 << 18
_SKIP_BYTES = 1 << 20


class _Gunzip:
    """A gzip file of one or several members. One that is cut off, or still being written, gives what is there."""

    def __init__(self, file: BinaryIO | FileIO) -> None:
        self._file = file
        self._input = b""
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False

    @property
    def inside(self) -> bool:
        """Whether a member has begun that has not ended."""
        return self._begun and not self._member.eof

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end."""
        while True:
            if self._member.eof:
                # Zeros may pad the end of a file, as tapes and block devices leave them.
                self._input = self._member.unused_data.lstrip(b"\0")
                self._member = zlib.decompressobj(_GZIP_WINDOW)
                self._begun = False
            if not self._input:
                self._input = self._file.read(_READ_BYTES) or b""
            if not self._input:
                return b""
            self._begun = True
            data = self._member.decompress(self._input, size)
            self._input = self._member.unconsumed_tail
            if data:
                return data


class _Unxz:
    """An xz file of one or several streams. One that is cut off, or still being written, gives what is there."""

    def __init__(self, file: BinaryIO | FileIO) -> None:
        self._file = file
        self._input = b""
        self._stream = self._begin()
        self._begun = False

    @staticmethod
    def _begin() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    @property
    def inside(self) -> bool:
        """Whether a stream has begun that has not ended."""
        return self._begun and not self._stream.eof

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end."""
        while True:
            if self._stream.eof:
                # Zeros may stand between streams and behind the last one.
                self._input = self._stream.unused_data.lstrip(b"\0")
                while not self._input and (more := self._file.read(_READ_BYTES)):
                    self._input = more.lstrip(b"\0")
                if not self._input:
                    return b""
                self._stream, self._begun = self._begin(), False
            if self._stream.needs_input and not self._input:
                self._input = self._file.read(_READ_BYTES) or b""
                if not self._input:
                    return b""
            self._begun = True
            data = self._stream.decompress(self._input, size)
            self._input = b""  # what was not used is kept inside
            if data:
                return data


class BlockReader:
    """One open file. `position` is the next byte to be read, uncompressed."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            OSError: it cannot be opened.
            SourceBroken: it is compressed in a way that is not read.
        """
        self.path = path
        self._file = path.open("rb", buffering=0)
        self.position = 0
        magic = self._file.read(6)
        self._file.seek(0)
        if kind := next((name for start, name in _UNREAD if magic.startswith(start)), ""):
            self._file.close()
            raise SourceBroken(f"{path}: compressed with {kind}, expected gzip, zstd, xz or no compression")
        self._magic = magic
        self.compressed = magic.startswith((_GZIP, _ZSTD, _XZ))
        self._stream = cast(BinaryIO, self._open(magic))

    def _open(self, magic: bytes) -> object:
        if magic.startswith(_GZIP):
            return _Gunzip(self._file)
        if magic.startswith(_XZ):
            return _Unxz(self._file)
        if magic.startswith(_ZSTD):
            return zstandard.ZstdDecompressor().stream_reader(self._file, read_across_frames=True)
        return self._file

    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        stat = os.fstat(self._file.fileno())
        return stat.st_dev, stat.st_ino

    def size(self) -> int:
        """Bytes on disk now, compressed if the file is."""
        return os.fstat(self._file.fileno()).st_size

    def modified_s(self) -> float:
        """When it was last written to, in seconds since 1970."""
        return os.fstat(self._file.fileno()).st_mtime

    def seek(self, position: int) -> None:
        """Go to `position`; a compressed file is read up to it."""
        if not self.compressed:
            self._file.seek(position)
            self.position = position
            return
        if position < self.position:
            self._file.seek(0)
            self._stream = cast(BinaryIO, self._open(self._magic))
            self.position = 0
        while self.position < position and self.read(min(_SKIP_BYTES, position - self.position)):
            pass

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end.

        Raises:
            SourceBroken: the compressed stream is damaged.
        """
        try:
            data = self._stream.read(size)
        except (OSError, zlib.error, zstandard.ZstdError, lzma.LZMAError) as error:
            raise SourceBroken(f"{self.path} at byte {self.position}: {error}, expected intact data") from None
        self.position += len(data)
        return data

    @property
    def cut_off(self) -> bool:
        """Whether the file, read to its end, ends inside a member of gzip or a stream of xz."""
        return isinstance(self._stream, _Gunzip | _Unxz) and self._stream.inside

    def close(self) -> None:
        """Release the file."""
        self._file.close()
