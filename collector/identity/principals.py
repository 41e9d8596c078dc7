"""Certificate identities: what a peer's SAN says about its namespace and service account.

Sources: SPIFFE-ID (spiffe.io, "The SPIFFE Identity and Verifiable Identity Document"), Istio's `ns/N/sa/S` path,
Consul's `[ap/P/]ns/N/dc/D/svc/S` path, Linkerd's `SA.NS.serviceaccount.identity.CONTROL_PLANE.TRUST_DOMAIN`, OSM's
`SA.NS.cluster.local`. Istio's policies and metrics of old releases leave the scheme out. Everything here is hostile
text: what fits no form is kept whole and names nobody but itself. The view `edge_endpoints` says the same in SQL, for
the map.

A namespace here is Kubernetes'. Consul has its own in the Enterprise edition only, where they mirror those
of Kubernetes; without them every service is in `default`, wherever its pods run. So Consul's `default` names none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

SPIFFE = "spiffe://"
MAX_LENGTH = 2048
"""Longest SPIFFE ID the standard allows, in bytes; longer text names nobody."""


class Principal(NamedTuple):
    """One identity. Every part is `""` where the form does not carry it."""

    id: str = ""
    """The whole identity as in the certificate."""
    trust_domain: str = ""
    namespace: str = ""
    service_account: str = ""
    service: str = ""
    """Consul only: its identities name a service, not an account."""
    datacenter: str = ""
    partition: str = ""
    """Consul Enterprise's admin partition."""

    @property
    def account(self) -> str:
        """Who the identity is within its namespace: an account, Consul's service, else the whole identity."""
        return self.service_account or self.service or self.id


NOBODY = Principal()
CONSUL_DEFAULT = "default"


def consul_namespace(namespace: str) -> str:
    """The Kubernetes namespace that a namespace of Consul tells, or `""`."""
    return "" if namespace == CONSUL_DEFAULT else namespace


def _spiffe(text: str) -> Principal:
    trust_domain, _, path = text.removeprefix(SPIFFE).partition("/")
    parts = path.split("/")
    named: dict[str, str] = {}
    if len(parts) % 2 == 0:
        for name, value in zip(parts[::2], parts[1::2], strict=True):
            named.setdefault(name, value)
    namespace, is_consul = named.get("ns", ""), bool(named.get("svc")) and not named.get("sa")
    found = Principal(
        id=text,
        trust_domain=trust_domain.lower(),
        namespace=consul_namespace(namespace) if is_consul else namespace,
        service_account=named.get("sa", ""),
        service=named.get("svc", ""),
        datacenter=named.get("dc", ""),
        partition=named.get("ap", ""),
    )
    if text.startswith(SPIFFE):
        return found
    return (
        found._replace(id=SPIFFE + text)
        if namespace and (found.service_account or found.service)
        else Principal(id=text)
    )


def _dns(text: str) -> Principal:
    labels = text.split(".")
    # SA.NS.serviceaccount.identity.CONTROL_PLANE.TRUST_DOMAIN...; an account's name may itself hold dots.
    marker = next((i for i in range(2, len(labels) - 1) if labels[i : i + 2] == ["serviceaccount", "identity"]), None)
    if marker is None:
        if len(labels) == 4 and labels[2:] == ["cluster", "local"]:
            return Principal(id=text, trust_domain="cluster.local", namespace=labels[1], service_account=labels[0])
        return Principal(id=text)
    return Principal(
        id=text,
        trust_domain=".".join(labels[marker + 3 :]),
        namespace=labels[marker - 1],
        service_account=".".join(labels[: marker - 1]),
    )


def parse_principal(text: str) -> Principal:
    """The identity in a SAN field.

    Several SANs are joined by a comma; the first SPIFFE id among them is the identity, else the first name. An identity
    without its scheme (`cluster.local/ns/N/sa/S`) gets it, so that one caller has one spelling.
    A missing SAN (`""`, `-`, `unknown`) is `NOBODY`. Never raises.
    """
    return _parse(text) if 0 < len(text) <= MAX_LENGTH else NOBODY


def shortened(text: str) -> str:
    """A SAN field of any length as one that `parse_principal` reads: of too many names the one that is the identity."""
    if len(text) <= MAX_LENGTH:
        return text
    names = [name for name in (part.strip() for part in text.split(",")) if 0 < len(name) <= MAX_LENGTH]
    return next((name for name in names if name.startswith(SPIFFE)), names[0] if names else "")


@lru_cache(maxsize=16384)
def _parse(text: str) -> Principal:
    names = [name for name in (part.strip() for part in text.split(",")) if name and name not in ("-", "unknown")]
    if not names:
        return NOBODY
    name = next((name for name in names if name.startswith(SPIFFE)), names[0])
    return _spiffe(name) if "/" in name else _dns(name)
