"""Who refused, from the text that a line gives: the policy's namespace and name, and the rule.

| kind | the text (`calls.denied_by`) | policy | rule |
|---|---|---|---|
| rbac | `ns[NS]-policy[NAME]-rule[N]` (Istio), any other id of an Envoy's RBAC policy | NAME | N |
| ext_authz | `ext_authz`, `ext_authz:PROVIDER ns[NS]-policy[NAME]-rule[N]` | NAME | N |
| jwt | `jwt_authn` | | |
| ztunnel | `NS/NAME` | NAME | |
| consul | `consul-intentions-layer4`, `consul-intentions-layer7-N` | without N | N |
| linkerd | `server/NAME`, `server/NAME httproute/ROUTE`, `default/deny` | `server/NAME` | `httproute/ROUTE` |
| network | `NS/NAME`, several joined by commas (Cilium), `[NS/]TIER.NAME rule N` (Calico) | NAME | N |

`none` is a policy nowhere: policies that allow are there, and none of them allowed the call.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["rbac", "ztunnel", "ext_authz", "jwt", "linkerd", "consul", "network", "other", "unnamed"]
"""What refused: `other` is named by the line but of no kind that is known, `unnamed` is not even named."""

_ISTIO = re.compile(r"ns\[(?P<namespace>[^\[\]]*)\]-policy\[(?P<policy>[^\[\]]*)\](?:-rule\[(?P<rule>[^\[\]]*)\])?")
_CALICO = re.compile(r"(?P<policy>.+) rule (?P<rule>\d+)", re.DOTALL)
_CONSUL = re.compile(r"(?P<policy>consul-intentions-layer\d+)(?:-(?P<rule>\d+))?")


class Refuser(NamedTuple):
    """The policy and rule that a refusal rests on; None where the line does not say, or no policy matched."""

    namespace: str | None = None
    policy: str | None = None
    rule: str | None = None


def refuser(kind: str, denied_by: str) -> Refuser:
    """What `denied_by` names. Any text is fine; what fits no form is a policy of that name."""
    if denied_by in ("", "none", "jwt_authn"):
        return Refuser()
    text = denied_by
    if kind == "ext_authz":
        text = denied_by.partition(" ")[2]
        if not text:
            return Refuser()
    if found := _ISTIO.fullmatch(text):
        return Refuser(found["namespace"] or None, found["policy"] or None, found["rule"] or None)
    if found := _CONSUL.fullmatch(text):
        return Refuser(None, found["policy"], found["rule"])
    if kind == "linkerd":
        server, _, route = text.partition(" ")
        return Refuser(None, server, route or None)
    rule = None
    if kind == "network" and (found := _CALICO.fullmatch(text)):
        text, rule = found["policy"], found["rule"]
    namespace, slash, name = text.partition("/")
    if kind in ("ztunnel", "network") and slash and "," not in text and "/" not in name:
        return Refuser(namespace or None, name or None, rule)
    return Refuser(None, text, rule)


def provider(denied_by: str) -> str | None:
    """The external authorizer's name, where a line has it."""
    return denied_by.partition(" ")[0].partition(":")[2] or None
