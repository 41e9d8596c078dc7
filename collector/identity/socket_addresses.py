"""`ip:port` columns as Envoy prints them → IPv6 bytes and ports, without a Python step per row.

Forms: `10.0.0.1:80`, `[2001:db8::1]:80`, `::ffff:10.0.0.1:80` (as Java prints it), a bare address,
`tcp://10.0.0.1:80` (old releases), `envoy://connect_originate/10.0.0.1:80` (waypoints). Pipes,
`envoy://internal_client_address/` and nonsense have none.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes
from collector.decode.spans import as_text, bounds, gather

UNKNOWN = bytes(16)
"""`::`, which no packet carries: the address is not known."""
Ports = npt.NDArray[np.uint16]
_LONGEST = 100
"""Characters of the longest address with its scheme: longer text is none, and is not worth remembering."""
_SAMPLE = 1024
"""Rows that tell whether a column repeats itself (addresses of services) or not (a new port for every connection)."""


def ip_bytes(text: str) -> bytes:
    """An address as 16 bytes (IPv4 mapped into ::ffff:0:0/96); `UNKNOWN` for anything else. Never raises."""
    return _ip_bytes(text) if len(text) <= _LONGEST else UNKNOWN


@lru_cache(maxsize=65536)
def _ip_bytes(text: str) -> bytes:
    text = text.rpartition("/")[2].strip("[]")
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if address.version == 4:
        return b"\0" * 10 + b"\xff\xff" + address.packed
    return address.packed


def ip_text(address: bytes) -> str:
    """16 bytes as people write them (a mapped IPv4 address in its short form); `""` for `UNKNOWN`."""
    if address == UNKNOWN:
        return ""
    if address.startswith(b"\0" * 10 + b"\xff\xff"):
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8 (mapped) or ::1."""
    return address.startswith(b"\0" * 10 + b"\xff\xff\x7f") or address == b"\0" * 15 + b"\x01"


def is_private(address: bytes) -> bool:
    """Whether an address is one of networks of its own (RFC 1918 and the like), not of the internet."""
    return address != UNKNOWN and ipaddress.ip_address(ip_text(address)).is_private


@dataclass(slots=True)
class AddressPool:
    """Distinct addresses of one batch and their codes; code 0 is `UNKNOWN`."""

    values: list[bytes] = field(default_factory=lambda: [UNKNOWN])
    index: dict[bytes, int] = field(default_factory=lambda: {UNKNOWN: 0})

    def code(self, address: bytes) -> int:
        """The code of one address, new or known."""
        known = self.index.get(address)
        if known is None:
            known = self.index[address] = len(self.values)
            self.values.append(address)
        return known

    def parse(self, column: pa.Array) -> tuple[Codes, Ports]:
        """Socket addresses as text → codes of the addresses, and ports (0 = none)."""
        rows = len(column)
        if column.null_count == rows:
            return np.zeros(rows, np.int32), np.zeros(rows, np.uint16)
        column = column.fill_null("") if column.null_count else column
        if len(column.slice(0, _SAMPLE).unique()) < min(_SAMPLE, rows) // 2:
            distinct = column.dictionary_encode()
            codes, ports = self._parse(distinct.dictionary)
            place = distinct.indices.to_numpy(zero_copy_only=False)
            return codes[place], ports[place]
        return self._parse(column)

    def _parse(self, column: pa.StringArray) -> tuple[Codes, Ports]:
        heads, tails = _split(column)
        encoded = heads.dictionary_encode()
        codes = np.fromiter((self.code(ip_bytes(text)) for text in encoded.dictionary.to_pylist()), np.int32)
        return codes[encoded.indices.to_numpy(zero_copy_only=False)], _ports(tails)

    def encode(self, column: pa.Array) -> Codes:
        """A `binary(16)` column as codes; null is `UNKNOWN`."""
        encoded = column.dictionary_encode()
        codes = np.fromiter((self.code(value or UNKNOWN) for value in encoded.dictionary.to_pylist()), np.int32)
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.append(codes, np.int32(0))[indices]

    def decode(self, codes: Codes) -> pa.FixedSizeBinaryArray:
        """Codes as a `binary(16)` column."""
        pool = np.frombuffer(b"".join(self.values), np.uint8).reshape(-1, 16)
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(codes), [None, pa.py_buffer(np.ascontiguousarray(pool[codes]))]
        )

    def loopback(self) -> npt.NDArray[np.bool_]:
        """For each code, whether it is a loopback address."""
        return np.array([is_loopback(value) for value in self.values], np.bool_)


def _split(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Addresses and ports, as text."""
    content, starts, ends = bounds(column)
    begin, end = (int(starts[0]), int(ends[-1])) if len(starts) else (0, 0)
    colons = np.flatnonzero(content[begin:end] == ord(":")) + begin
    filled = np.flatnonzero(ends > starts)
    if len(colons) != len(filled) or (colons < starts[filled]).any() or (colons >= ends[filled]).any():
        return _split_any(column)
    # One colon in every address, so all are `ip:port`: cut the shared bytes at them.
    cuts = ends.copy()
    cuts[filled] = colons
    return as_text(gather(content, starts, cuts)), as_text(gather(content, np.minimum(cuts + 1, ends), ends))


def _split_any(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    parts = pc.split_pattern(column, ":", max_splits=1, reverse=True)
    flat = parts.flatten()
    lengths = np.diff(parts.offsets.to_numpy())
    ends = np.cumsum(lengths)
    if not len(lengths) or (lengths == 2).all():
        heads = flat.take(pa.array(ends - 2))
        tails = flat.take(pa.array(ends - 1))
    else:
        heads = flat.take(pa.array(ends - lengths))
        tails = pc.if_else(pa.array(lengths == 2), flat.take(pa.array(ends - 1)), "")
    # A bare IPv6 address was cut at its last colon: it has colons left, and no bracket closes it. Behind IPv4 in the
    # form of IPv6 a colon can only begin a port.
    bare = pc.and_(pc.match_substring(heads, ":"), pc.invert(pc.ends_with(heads, "]")))
    bare = pc.and_(bare, pc.invert(pc.match_substring_regex(heads, "[/.]")))
    if pc.any(bare).as_py():
        heads, tails = pc.if_else(bare, column, heads), pc.if_else(bare, "", tails)
    return heads, tails


def _ports(tails: pa.Array) -> Ports:
    valid = pc.and_(pc.ascii_is_decimal(tails), pc.less_equal(pc.binary_length(tails), 5))
    if not pc.all(valid).as_py():
        tails = pc.if_else(valid, tails, "0")
    ports = tails.cast(pa.int32()).to_numpy(zero_copy_only=False)
    return np.where(ports < 65536, ports, 0).astype(np.uint16)
