"""Text for a terminal. What strangers wrote into logs, names and paths must not steer it."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` with everything but printable characters escaped (`\x1b`, `\u202e`, `\n`)."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
