"""`multipart/form-data` as ClickHouse's HTTP form takes it: fields are query arguments, files are external tables."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(rb'\bname="([^"]*)"')
_FILE = re.compile(rb"\bfilename=")
_BOUNDARY = re.compile(r'multipart/form-data\s*;.*\bboundary="?([^";]+)"?', re.IGNORECASE)
MAX_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Form:
    """A form's `fields` (text) and `files` (bytes), by name."""

    fields: Mapping[str, str]
    files: Mapping[str, bytes]


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart body, None for any other body."""
    match = _BOUNDARY.match(content_type)
    return match[1] if match else None


def encode(form: Form) -> tuple[str, bytes]:
    """A form as content type and body."""
    boundary = secrets.token_hex(16)
    parts = list[bytes]()
    for name, text in form.fields.items():
        parts.append(_part(boundary, f'name="{name}"', text.encode()))
    for name, data in form.files.items():
        parts.append(_part(boundary, f'name="{name}"; filename="{name}"', data))
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, f"--{boundary}--\r\n".encode()])


def decode(boundary: str, body: bytes) -> Form:
    """A body as a form.

    Raises:
        ValueError: it is no form, or has too many parts.
    """
    fields, files = dict[str, str](), dict[str, bytes]()
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2 or len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("a closed multipart/form-data body expected")
    for piece in pieces[1:-1]:
        head, separator, data = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not separator or name is None:
            raise ValueError("every part of a form needs a name")
        if _FILE.search(head):
            files[name[1].decode()] = data
        else:
            fields[name[1].decode()] = data.decode()
    return Form(fields, files)


def _part(boundary: str, disposition: str, data: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"
