"""ClickHouse's error texts as errors of this room: the same on every engine.

A text reads `Code: 60. DB::Exception: ... (UNKNOWN_TABLE)`; only its number decides.
"""

from __future__ import annotations

import re

from storage.errors import (
    AuthenticationFailed,
    BadParameter,
    EngineUnavailable,
    QueryFailed,
    StorageError,
    StoreFull,
)

_CODE = re.compile(r"\bCode:\s*(\d+)")
_NOISE = re.compile(r"^(Code:\s*\d+\.?\s*)?(DB::Exception:\s*)?")
_AUTHENTICATION = {192, 193, 194, 516}
_PARAMETER = {456, 457}
_SPACE = {243, 515}
_RETRYABLE = {
    202: "too many queries at once",
    203: "no free connection",
    209: "a socket timed out",
    210: "the network failed",
    242: "the table is read only for now",
    252: "too many parts: merges do not keep up with inserts",
    279: "no replica answers",
    285: "too few live replicas",
    286: "the quorum was not reached",
    319: "the state of the insert is unknown",
    439: "no thread could be started",
    999: "the coordinator (Keeper) failed",
}
_MAX_TEXT = 1000


def one_line(text: str) -> str:
    """`text` on one line of at most 1000 characters, without stack traces."""
    text = " ".join(text.split("Stack trace")[0].split())
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."


def without_code(text: str) -> str:
    """`text` on one line, without the code at its head and without the grammar after a syntax error."""
    return _NOISE.sub("", one_line(text.split(". Expected one of:")[0]))


def code_of(text: str) -> int:
    """ClickHouse's error code in a message, 0 when there is none."""
    match = _CODE.search(text)
    return int(match[1]) if match else 0


def refusal(text: str, where: str, code: int | None = None) -> StorageError:
    """The error that ClickHouse's message `text` stands for; `where` is the store's location."""
    number = code_of(text) if code is None else code
    reason = without_code(text)
    if number in _AUTHENTICATION:
        return AuthenticationFailed(f"{where}: user or password refused")
    if number in _PARAMETER:
        return BadParameter(f"{where}: {reason}")
    if number in _SPACE or "No space left on device" in text:
        return StoreFull(f"{where}: no space left on the disk")
    if number == 241 and "Query memory limit" not in text:
        return EngineUnavailable(f"{where}: out of memory for now: {reason}")
    if number in _RETRYABLE:
        return EngineUnavailable(f"{where}: {_RETRYABLE[number]}: {reason}")
    return QueryFailed(f"{where}: {reason}", number)
