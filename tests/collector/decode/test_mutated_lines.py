"""Each line format against its own lines with bytes cut, doubled, overwritten or swapped with another line's.

A batch of many damaged lines goes through one call of the decoder, which is what makes thousands of them cheap. What
any bytes at all do, and lines of all formats mixed, is `test_any_bytes`.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.contract import Decoded
from collector.decode.limits import Limits
from collector.decode.line_formats import LINE_FORMATS
from collector.decode.registry import decoder
from collector.identity.addresses import AddressBook, complete
from tests.collector.decode import samples, test_istio_layouts, test_ztunnel, trace_samples
from tests.collector.decode.flow_samples import CALICO, HUBBLE
from tests.collector.decode.proxy_samples import BY_FORMAT
from tests.collector.decode.test_any_bytes import FRAGMENTS, of, records

OWN: dict[str, Sequence[str]] = {
    "calls_json": (samples.CALL, samples.CALL.replace('"tls":"mtls",', "").replace("1250", "1250.5")),
    "hubble_json": HUBBLE,
    "calico_json": CALICO,
    "ztunnel_json": (test_ztunnel.JSON,),
    "ztunnel_text": [line for line in test_ztunnel.LINES if line != test_ztunnel.JSON],
    "envoy_json": (samples.JSON, samples.JSON_SAN, samples.OSM),
    "istio_text": (*samples.ISTIO_TEXT, *(case[1] for case in test_istio_layouts.LINES)),
    "envoy_text": (samples.ENVOY, samples.ENVOY.replace("204 -", "503 UF").replace("tcp://", "")),
    "emissary_text": test_ztunnel.EMISSARY,
    "zipkin_json": (trace_samples.ZIPKIN_CLIENT, trace_samples.ZIPKIN_SERVER),
    "jaeger_json": trace_samples.JAEGER_JSON,
    **BY_FORMAT,
}
LIMITS = Limits(record_bytes=5000, keys=60, depth=8, value_bytes=2500)
BATCH = 100
PIECES = [
    *(*FRAGMENTS, b", ", b" : ", b"[-]", b"=", b"|", b"\t", b"src.identity=", b'="', b' error="x" error="y"'),
    *(b"duration=1e9h", b"31/Feb/2024:25:61:61 +9999", b'"ip":"', b'"port":99999', b"a" * 3000),
]
WORD = re.compile(rb"\w+")
WORDS = [b"", b"0", b"-1", b"1.5", b"99999", b"9" * 25, b"null", b"true", b"NaN", "é".encode(), b"x" * 300, b"%2e"]


def test_every_line_format_has_lines_of_its_own() -> None:
    assert set(OWN) == set(LINE_FORMATS)


def damaged(lines: Sequence[bytes], chance: random.Random) -> bytes:
    """One of `lines` with up to three places changed: some break its form, some only what it says."""
    line = chance.choice(lines)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        begin = chance.randint(0, len(line))
        end = min(len(line), begin + chance.randint(0, 12))
        match chance.randrange(8):
            case 0:
                piece = chance.choice(PIECES)
            case 1:
                piece = chance.randbytes(chance.randint(0, 4))
            case 2:
                piece = line[begin:end] * 2
            case 3:
                other = chance.choice(lines)
                at = chance.randint(0, len(other))
                piece = other[at : at + chance.randint(0, 40)]
            case 4:
                # The rest of another line, or nothing more at all.
                piece, end = chance.choice([*lines, b""])[begin:], len(line)
            case _:
                words = list(WORD.finditer(line)) or [None]
                if (word := chance.choice(words)) is None:
                    continue
                begin, end = word.span()
                piece = chance.choice([*WORDS, chance.choice(words)[0]])
        line = line[:begin] + piece + line[end:]
    return line


def told(decoded: Decoded, message: int) -> list[Any]:
    """What was made of one message; a column that a batch lacks has its default, which is none of these."""
    rows: list[Any] = [letter.reason for letter in decoded.dead if letter.message == message]
    for name, batch in decoded.tables.items():
        for row in batch.filter(pc.equal(batch["_message"], message)).to_pylist():
            rows.append((name, {key: value for key, value in row.items() if value and key != "_message"}))
    return rows


def alike(name: str, rows: list[Any]) -> list[Any]:
    """Rows as they are whatever else is in their batch.

    Of several packets of one connection in a batch one counts and keeps its line, and a damaged copy of a line may come
    first.
    """
    if name != "hubble_json":
        return rows
    of_the_first = {"log_type", "raw", "attributes"}
    return [
        (one[0], {key: value for key, value in one[1].items() if key not in of_the_first})
        if isinstance(one, tuple) and one[1].get("log_type") in ("packet", "connection_end")
        else one
        for one in rows
    ]


@pytest.mark.parametrize("name", LINE_FORMATS)
def test_damaged_lines_are_rows_or_dead_letters_and_harm_no_neighbour(name: str) -> None:
    own = [line.encode() for line in OWN[name]]
    reader = decoder(name, LIMITS)
    alone = [told(reader.decode(of([line])), 0) for line in own]
    assert all(alone)
    share: Counter[str] = Counter()

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 2**64))
    def law(seed: int) -> None:
        chance = random.Random(seed)
        places = sorted(chance.sample(range(BATCH), len(own)))
        values = [damaged(own, chance) for _ in range(BATCH)]
        for place, line in zip(places, own, strict=True):
            values[place] = line
        decoded = reader.decode(of(values))
        accounted = Counter((letter.message, letter.record) for letter in decoded.dead)
        for batch in decoded.tables.values():
            accounted += Counter(zip(batch["_message"].to_pylist(), batch["_record"].to_pylist(), strict=True))
            batch.validate(full=True)
            share["rows"] += batch.num_rows
        if "calls" in decoded.tables:
            complete(decoded.tables["calls"], AddressBook())
        share["dead"] += len(decoded.dead)
        assert accounted == records(values)
        again = reader.decode(of(values))
        assert (again.tables, again.dead) == (decoded.tables, decoded.dead)
        for place, rows in zip(places, alone, strict=True):
            assert alike(name, told(decoded, place)) == alike(name, rows)

    law()
    # Both ends of the decoder are tried: some damage leaves a line of the format, some does not.
    assert min(share["rows"], share["dead"]) > 0.05 * share.total(), share
