"""Reading a file in blocks: plain or compressed (gzip, zstd), positions counted in uncompressed bytes."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from collector.errors import SourceBroken

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIP_BYTES = 1 << 20


class BlockReader:
    """One open file. `position` is the next byte to be read, uncompressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self.position = 0
        magic = self._file.read(4)
        self._file.seek(0)
        self.compressed = magic.startswith(_GZIP) or magic == _ZSTD
        self._stream = cast(BinaryIO, self._open(magic))

    def _open(self, magic: bytes) -> object:
        if magic.startswith(_GZIP):
            return gzip.GzipFile(fileobj=io.BufferedReader(cast(io.RawIOBase, self._file)), mode="rb")
        if magic == _ZSTD:
            return zstandard.ZstdDecompressor().stream_reader(self._file, read_across_frames=True)
        return self._file

    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        stat = os.fstat(self._file.fileno())
        return stat.st_dev, stat.st_ino

    def size(self) -> int:
        """Bytes on disk now, compressed if the file is."""
        return os.fstat(self._file.fileno()).st_size

    def seek(self, position: int) -> None:
        """Go to `position`; a compressed file is read up to it."""
        if not self.compressed:
            self._file.seek(position)
            self.position = position
            return
        if position < self.position:
            self._stream.seek(0) if isinstance(self._stream, gzip.GzipFile) else self._rewind()
            self.position = 0
        while self.position < position and self.read(min(_SKIP_BYTES, position - self.position)):
            pass

    def _rewind(self) -> None:
        self._file.seek(0)
        self._stream = cast(BinaryIO, self._open(_ZSTD))

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end.

        Raises:
            SourceBroken: the compressed stream is damaged.
        """
        try:
            data = self._stream.read(size)
        except EOFError:
            # A compressed file that is still being written, or was cut off: what came out so far stands.
            return b""
        except (OSError, zlib.error, zstandard.ZstdError, lzma.LZMAError) as error:
            raise SourceBroken(f"{self.path} at byte {self.position}: {error}, expected intact data") from None
        self.position += len(data)
        return data

    def close(self) -> None:
        """Release the file."""
        if self._stream is not self._file:
            self._stream.close()
        self._file.close()
