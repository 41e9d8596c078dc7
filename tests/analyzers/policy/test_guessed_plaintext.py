"""A line that only looks like plain text: coverage and suggestions do not take it for a call in plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analyzers.policy.lint.run import lint
from analyzers.policy.policy_set import read_set
from analyzers.policy.suggest.report import suggest
from storage.engine import Engine
from storage.tables import LOGGED_BIT
from tests.analyzers.policy.suggest_store import at, stocked, usual
from tests.analyzers.records import call, insert_calls


def guessed(name: str, **fields: Any) -> Mapping[str, Any]:
    """A call that came in plain text for all that its line shows, which is not much."""
    row = call(
        0,
        mesh="istio",
        reporter="destination",
        protocol="http",
        source_namespace="shop",
        source_service=name,
        source_workload=name,
        destination_namespace="shop",
        destination_service="orders",
        destination_workload="orders",
        destination_port=8080,
        method="GET",
        path="/orders/1",
        operation="GET /orders/{id}",
        verdict="allowed",
        tls="plaintext",
        **fields,
    )
    return {**row, "ts": at(1), "logged": row["logged"] & ~(1 << LOGGED_BIT["tls"])}


def test_how_they_came_is_not_known(engine: Engine) -> None:
    stocked(engine, usual())
    named = "spiffe://cluster.local/ns/shop/sa/api"
    insert_calls(engine, [guessed("bare", source_principal=""), guessed("api", source_principal=named)])
    found = suggest(engine, "istio", at(0), at(100))
    left = {(one.source, one.reason) for one in found.left_out}
    assert ("shop/bare", "no_identity") in left and "api" not in {source for source, _ in left}
    assert "cluster.local/ns/shop/sa/api" in found.yaml()
    coverage = lint(read_set({}), engine, {}).coverage
    assert coverage
    (shop,) = [one.to_document() for one in coverage.namespaces if one.namespace == "shop"]
    assert (shop["calls"]["plaintext"], shop["calls"]["unknown"]) == (0, 1)
