"""Lines of ingress-nginx's format `upstreaminfo` → columns of text.

Almost every line has its six quotes and no blanks but the format's own: it is cut at them, in a fraction of the time
that an expression takes. Other lines (retries, users with blanks) go through the expression, which says what the format
is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.common_log import TIME
from collector.decode.envelope import Lines
from collector.decode.expression_lines import Matched, matched
from collector.decode.limits import Limits
from collector.decode.text_layout import readable

Mask = npt.NDArray[np.bool_]

# One try, or several separated by commas; a colon stands where an internal redirect began new ones.
_TRIES = r"(?:[^ ,]+(?:(?:, | : )[^ ,]+)*)"
LINE = (
    rf'^(?P<addr>\S+) - (?P<user>[^"]*) \[(?P<time>{TIME})\] '
    r'"(?P<request>[^"]*)" (?P<status>\d{1,3}) (?P<sent>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" '
    r"(?P<received>\d+|-) (?P<duration>[0-9.]+|-) \[(?P<upstream>[^\]]*)\] \[(?P<alternative>[^\]]*)\] "
    rf"(?P<tries>{_TRIES}) (?P<lengths>{_TRIES}) (?P<times>{_TRIES}) (?P<statuses>{_TRIES}) (?P<id>.+)$"
)

_HEAD = ("addr", "dash", "user", "day", "zone", "")
_CODES = ("", "status", "sent", "")
_TAIL = ("", "received", "duration", "upstream", "alternative", "tries", "lengths", "times", "statuses", "id")
_FORMS = {
    "addr": r"^\S+$",
    "dash": "^-$",
    "status": r"^\d{1,3}$",
    "sent": r"^(?:\d+|-)$",
    "received": r"^(?:\d+|-)$",
    "duration": r"^(?:[0-9.]+|-)$",
    "upstream": r"^\[[^\]]*\]$",
    "alternative": r"^\[[^\]]*\]$",
    **dict.fromkeys(("tries", "lengths", "times", "statuses"), "^[^,]+$"),
    "id": r"^\S+$",
}


def cut(lines: Lines, limits: Limits) -> Matched:
    """The lines that have the format."""
    fits, fields = np.zeros(len(lines), np.bool_), dict[str, pa.StringArray]()
    if int((lines.spans.ends - lines.spans.starts).max(initial=0)) <= limits.value_bytes:
        fits, fields = _plain(readable(lines.spans))
        if fits.all() and len(lines):
            return Matched(lines, np.arange(len(lines)), fields, [], np.zeros(0, np.int64))
    if not fits.any():
        return matched(lines, LINE, limits)
    others = np.flatnonzero(~fits)
    rest = matched(lines.take(others), LINE, limits)
    plain = np.flatnonzero(fits)
    rows = np.concatenate((plain, others[rest.rows]))
    order = np.argsort(rows, kind="stable")
    both = {name: pa.concat_arrays([text, rest.fields[name]]).take(pa.array(order)) for name, text in fields.items()}
    refused = [(int(others[row]), reason) for row, reason in rest.refused]
    return Matched(lines.take(rows[order]), rows[order], both, refused, others[rest.rest])


def _plain(text: pa.StringArray) -> tuple[Mask, dict[str, pa.StringArray]]:
    """Which lines have no quotes and blanks but the format's own, and their fields."""
    fits = _count(text, '"') == 6
    parts = _pieces(text.filter(pa.array(fits)), '"', 7)
    blank = pc.equal(parts[4], " ").to_numpy(zero_copy_only=False)
    even = blank & (_count(parts[0], " ") == 5) & (_count(parts[2], " ") == 3) & (_count(parts[6], " ") == 9)
    parts = [part.filter(pa.array(even)) for part in parts]
    fields = {"request": parts[1], "referer": parts[3], "agent": parts[5]}
    ends: list[pa.StringArray] = []
    for part, names in ((parts[0], _HEAD), (parts[2], _CODES), (parts[6], _TAIL)):
        for name, piece in zip(names, _pieces(part, " ", len(names)), strict=True):
            if name:
                fields[name] = piece
            else:
                ends.append(piece)
    good = np.ones(len(parts[0]), np.bool_)
    for piece in ends:
        good &= pc.equal(piece, "").to_numpy(zero_copy_only=False)
    for name, form in _FORMS.items():
        good &= pc.match_substring_regex(fields[name], form).to_numpy(zero_copy_only=False)
    stamp = pc.binary_join_element_wise(fields.pop("day"), fields.pop("zone"), " ").dictionary_encode()
    is_time = pc.match_substring_regex(stamp.dictionary, rf"^\[{TIME}\]$").take(stamp.indices)
    good &= is_time.to_numpy(zero_copy_only=False)
    fields["time"] = pc.utf8_slice_codeunits(stamp.dictionary, 1, -1).take(stamp.indices)
    for name in ("upstream", "alternative"):
        fields[name] = pc.utf8_slice_codeunits(fields[name], 1, -1)
    del fields["dash"]
    fits[np.flatnonzero(fits)] = even
    fits[np.flatnonzero(fits)] = good
    return fits, {name: piece.filter(pa.array(good)) for name, piece in fields.items()}


def _count(text: pa.StringArray, pattern: str) -> npt.NDArray[np.int32]:
    return pc.count_substring(text, pattern).to_numpy(zero_copy_only=False)


def _pieces(text: pa.StringArray, separator: str, count: int) -> list[pa.StringArray]:
    """Texts that all have `count` pieces, piece by piece."""
    flat = pc.split_pattern(text, separator).flatten()
    return [flat.take(pa.array(np.arange(place, len(flat), count))) for place in range(count)]
