"""The socket in a store's directory: its place, and how to reach it when its path is too long for the system.

A Unix socket's path may have about 107 bytes. A longer one is reached through a short-lived link to the directory.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

NAME = "eastwatch.sock"
MAX_PATH_BYTES = 100
BACKLOG = 64


@contextmanager
def short_path(directory: Path) -> Generator[Path]:
    """`directory` by a path that leaves room for a socket's name in it."""
    if len(os.fsencode(directory / f"{NAME}.XXXXXXXX" / NAME)) <= MAX_PATH_BYTES:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="ew-", dir="/tmp" if Path("/tmp").is_dir() else None) as private:
        link = Path(private) / "d"
        link.symlink_to(directory)
        yield link


def listen(directory: Path) -> socket.socket:
    """A listening socket `directory/eastwatch.sock`, mode 0600, in place of one that was left there.

    It is made in a private directory and moved, so that nobody else can connect before its mode is set.
    """
    with (
        short_path(directory) as place,
        tempfile.TemporaryDirectory(prefix=f"{NAME}.", dir=place) as private,
    ):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made = Path(private) / NAME
            listener.bind(str(made))
            made.chmod(0o600)
            listener.listen(BACKLOG)
            made.rename(place / NAME)
        except BaseException:
            listener.close()
            raise
    return listener


def connect(directory: Path, timeout_s: float) -> socket.socket:
    """A connection to the socket in `directory`; raises OSError when nobody listens there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout_s)
        with short_path(directory) as place:
            client.connect(str(place / NAME))
        client.settimeout(None)
    except BaseException:
        client.close()
        raise
    return client
