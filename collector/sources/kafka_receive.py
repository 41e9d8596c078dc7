"""Receiving responses of a broker without copying them more often than needed.

The client reads a socket 4 096 bytes at a time, joins these, and copies each response twice before it decodes it. Here
the bytes of a plain connection go from the socket straight into the response's own buffer, which is decoded where it
lies. TLS connections are read as ever: there the decryption costs more than the copies.

What is replaced is not public: kafka-python is pinned, and `tests/collector/sources/test_kafka_batches.py` compares
what is read with what the client's own `poll()` reads.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.frame import KafkaBytes

READ_BYTES = 1 << 16
"""Bytes of one read where they do not go into the response's buffer: its beginning, its end, small responses."""

_log = logging.getLogger(__name__)


def receive_in_place(consumer: KafkaConsumer) -> None:
    """Have every plain connection that `consumer` makes from now on received in place."""
    manager = consumer._manager  # pyright: ignore[reportPrivateUsage]
    build = manager._build_transport

    async def build_transport(*arguments: Any, **named: Any) -> Any:
        transport = await build(*arguments, **named)
        if type(transport) is KafkaTCPTransport:
            transport._sock_recv = functools.partial(_receive, transport)  # pyright: ignore[reportPrivateUsage]
        return transport

    manager._build_transport = build_transport


class _Response(KafkaBytes):
    """A response's buffer whose rest is read without a copy."""

    def read(self, nbytes: int | None = None) -> Any:
        if nbytes is not None:
            return super().read(nbytes)
        rest = memoryview(self)[self.tell() :]
        self.seek(len(self))
        return rest


def _receive(transport: Any) -> tuple[bytes, Exception | None]:
    """One read of the socket: (what the parser is still to be given, what went wrong).

    All of a response but its last byte can go into its buffer unseen; the last one, given to the parser, ends it.
    """
    try:
        space = _space(transport)
        if space is None:
            data = transport._sock.recv(READ_BYTES)
            came = len(data)
        else:
            data = b""
            came = transport._sock.recv_into(space)
            buffer = transport._protocol.parser._rbuffer
            buffer.seek(buffer.tell() + came)
    except (BlockingIOError, InterruptedError):
        return b"", None
    except BaseException as error:  # noqa: BLE001 - the transport closes the connection with it
        _log.debug("%s: %r", transport, error)
        return b"", kafka_errors.KafkaConnectionError(error)
    return data, None if came else kafka_errors.KafkaConnectionError("socket disconnected")


def _space(transport: Any) -> memoryview | None:
    """Where the next bytes of the response under way belong; None where the parser has to see them."""
    parser = transport._protocol.parser if transport._protocol else None
    if parser is None or not parser._receiving:
        return None
    buffer = parser._rbuffer
    reached, size = buffer.tell(), len(buffer)
    if size - reached <= READ_BYTES:
        return None
    if not isinstance(buffer, _Response):
        begun = bytes(memoryview(buffer)[:reached])
        buffer = parser._rbuffer = _Response(size)
        buffer.write(begun)
    return memoryview(buffer)[reached : size - 1]
