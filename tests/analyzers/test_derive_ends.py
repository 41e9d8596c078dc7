"""A derivation that is ended between two statements: readers see no half of it, and the next one does the rest."""

from __future__ import annotations

from datetime import timedelta

from analyzers.dependencies.derive import derive
from analyzers.dependencies.service_map import service_map
from storage.engine import Engine
from tests.analyzers.records import T0, insert_spans, span

NOW = T0 + timedelta(days=1)
STARTS_S = (0, 30, 62, 300, 4000)
"""Minutes that are derived together, and one in a step and an hour of its own."""
PAIRS = 3


def pairs(start_s: int) -> list[dict[str, object]]:
    """Requests of `web` to `api`; the last one's server span begins in the next minute."""
    made: list[dict[str, object]] = []
    for number in range(PAIRS):
        client, server = f"{start_s:x}a{number:x}", f"{start_s:x}b{number:x}"
        trace, late = start_s * 10 + number + 1, 40 if number == PAIRS - 1 else 1
        made.append(span(start_s, client, "", "web", "client", trace=trace))
        made.append(span(start_s + late, server, client, "api", "server", trace=trace))
    return made


def test_a_derivation_that_is_ended_anywhere_is_made_up_for(engine: Engine) -> None:
    insert_spans(engine, [row for start in STARTS_S for row in pairs(start)])
    whole, allowed, runs = False, 0, 0
    while not whole:
        left = allowed

        def go_on() -> bool:
            nonlocal left
            left -= 1
            return left >= 0

        whole = derive(engine, now=NOW + timedelta(seconds=allowed), go_on=go_on).whole
        requests = sum(edge.requests for edge in service_map(engine).edges)
        assert requests % PAIRS == 0 and requests <= PAIRS * len(STARTS_S), f"half of a step, {allowed} statements"
        allowed, runs = allowed + 3, runs + 1
    assert runs > 3
    assert {(e.source, e.destination): e.requests for e in service_map(engine).edges} == {
        ("web", "api"): PAIRS * len(STARTS_S)
    }
    assert sum(derive(engine, now=NOW + timedelta(days=1)).minutes.values()) == 0
