"""One request over cleartext HTTP/2 (RFC 9113 with prior knowledge), as a gRPC client sends it to its sidecar.

Only what that takes: header fields are sent as literals (RFC 7541, 6.2.2, without Huffman), the answer's are not read.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
_STREAM = 1


def request(connection: socket.socket, headers: Mapping[str, str], body: bytes) -> None:
    """Send one request with `headers` (pseudo-headers first) and wait for the end of the answer.

    Raises:
        ConnectionError: the other side closed the connection or reset the stream.
    """
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, _STREAM, block)
        + _frame(_DATA, _END_STREAM, _STREAM, body)
    )
    while True:
        size, kind, flags, stream = struct.unpack("!I", b"\x00" + _exactly(connection, 3)) + struct.unpack(
            "!BBI", _exactly(connection, 6)
        )
        payload = _exactly(connection, size)
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            connection.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY or (kind == _RST_STREAM and stream == _STREAM):
            raise ConnectionError(f"HTTP/2 frame {kind} instead of an answer: {payload.hex()}")
        elif kind in {_DATA, _HEADERS} and stream == _STREAM and flags & _END_STREAM:
            return


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 + 128])
        rest //= 128
    return size + bytes([rest]) + data


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection was closed before the answer")
        data += part
    return data
