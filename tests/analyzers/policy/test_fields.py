"""What lines of a proxy leave open and what they decide, from the line to the verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.fields import known, value
from analyzers.policy.formula import Field
from analyzers.policy.istio.compile import program
from analyzers.policy.istio.model import Mesh
from analyzers.policy.istio.read import read_authorization_policy
from analyzers.policy.sql import verdict
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.meshes.scenario import ingested

LINE: dict[str, Any] = {
    "start_time": "2026-03-02T10:00:00Z",
    "method": "GET",
    "path": "/orders",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "response_flags": "-",
    "upstream_host": "10.1.2.3:8080",
    "upstream_cluster": "inbound|8080||",
    "downstream_local_address": "10.1.2.3:8080",
    "downstream_remote_address": "10.1.1.1:41000",
    "requested_server_name": None,
}
NAMELESS = "from: [{source: {notPrincipals: ['*']}}]"
TEAM = "when: [{key: 'request.headers[x-team]', values: [red]}]"
OTHER_TEAM = "when: [{key: 'request.headers[x-team]', notValues: [red]}]"
ANY_CERTIFICATE = "from: [{source: {principals: ['*']}}]"
TLS = {"downstream_tls_version": "TLSv1.3", "downstream_peer_uri_san": None}


def judged(engine: Engine, rule: str, **more: Any) -> bool | None:
    """Whether a call with this line would be let in by one ALLOW rule; None = unknown."""
    ingested(engine, [json.dumps({**LINE, **more})])
    text = f"kind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {{rules: [{{{rule}}}]}}\n"
    (document,) = read_documents("p.yaml", text.encode())
    sql = verdict(program([read_authorization_policy(document, "shop")], Workload("shop"), Mesh(), "http"))
    (row,) = engine.query(sql.each("request_id", "calls"), sql.parameters).to_pylist()
    return None if row["allowed"] is None else bool(row["allowed"])


@pytest.mark.parametrize(
    ("rule", "more", "expected"),
    [
        # An absent server name says too little; any field of TLS that is logged and absent says enough.
        (NAMELESS, {}, None),
        (NAMELESS, {"downstream_tls_version": None}, True),
        (NAMELESS, {"downstream_tls_cipher": None}, True),
        (NAMELESS, {"downstream_peer_uri_san": None}, True),
        # A header that the line has as null is known to be absent.
        (TEAM, {}, None),
        (TEAM, {"request.headers.x-team": None}, False),
        (TEAM, {"request.headers.x-team": "-"}, False),
        (TEAM, {"request.headers.x-team": "red"}, True),
        (OTHER_TEAM, {}, None),
        (OTHER_TEAM, {"request.headers.x-team": None}, True),
        # So is a certificate.
        (ANY_CERTIFICATE, {**TLS}, None),
        (ANY_CERTIFICATE, {**TLS, "downstream_peer_fingerprint_256": None}, False),
        (ANY_CERTIFICATE, {**TLS, "downstream_peer_fingerprint_256": "ab"}, True),
    ],
)
def test_what_a_line_decides(engine: Engine, rule: str, more: dict[str, Any], expected: bool | None) -> None:
    assert judged(engine, rule, **more) is expected


def test_how_a_call_came_is_known_where_the_line_tells(engine: Engine) -> None:
    told = {"told": {"downstream_tls_version": None}, "guess": {}}
    ingested(engine, [json.dumps({**LINE, "request_id": name, **more}) for name, more in told.items()])
    fields = (Field.TLS, Field.PRINCIPAL, Field.CALLER)
    wanted = ", ".join(f"toUInt8({known(field, '')}) AS {field.value}_known" for field in fields)
    sql = f"SELECT request_id, tls, {wanted}, {value(Field.TLS, '')} AS said FROM calls ORDER BY request_id"
    found = {row.pop("request_id"): row for row in engine.query(sql).to_pylist()}
    assert [found[name]["tls"] for name in told] == ["plaintext"] * 2
    assert found["told"]["said"] == "plaintext"
    for field in fields:
        assert (found["told"][f"{field.value}_known"], found["guess"][f"{field.value}_known"]) == (1, 0)
