"""The conditions of an AuthorizationPolicy one by one, whether they stand in a source, an operation or under `when`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from analyzers.policy.istio.model import HTTP_ONLY, AuthorizationPolicy, Mesh, Rule, positive

KEYS: Mapping[str, str] = {
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "source.serviceAccount": "serviceAccounts",
    "source.trustDomain": "trustDomains",
    "source.ip": "ipBlocks",
    "remote.ip": "remoteIpBlocks",
    "request.auth.principal": "requestPrincipals",
    "destination.port": "ports",
}
"""Keys of `when` → the field that asks for the same."""
IDENTITIES = frozenset({"principals", "namespaces", "serviceAccounts", "trustDomains"})
"""Fields about the caller's certificate."""
TOKENS = ("requestPrincipals", "request.auth.")


@dataclass(frozen=True, slots=True)
class Given:
    """Values of one field, any of which will do; or none of which may hold.

    Attributes:
        path: from the document's root.
        name: of the field, without its `not`; for keys of `when` that no field is for, the key.
        wanted: whether one of the values must hold.
    """

    path: str
    name: str
    wanted: bool
    texts: tuple[str, ...]

    @property
    def is_http_only(self) -> bool:
        """Whether a connection does not have it."""
        return self.name in HTTP_ONLY or self.name.startswith("request.")

    @property
    def is_token(self) -> bool:
        """Whether it is about the token of a request."""
        return self.name.startswith(TOKENS)

    @property
    def shown(self) -> str:
        """As people write the field: the last part of its path."""
        return self.path.rpartition(".")[2]


def of_rule(rule: Rule, number: int) -> Iterator[Given]:
    """All of a rule's conditions in their order."""
    at = f"spec.rules[{number}]"
    for place, one in enumerate(rule.sources):
        for name, texts in one.items():
            bare, wanted = positive(name)
            yield Given(f"{at}.from[{place}].source.{name}", bare, wanted, texts)
    for place, one in enumerate(rule.operations):
        for name, texts in one.items():
            bare, wanted = positive(name)
            yield Given(f"{at}.to[{place}].operation.{name}", bare, wanted, texts)
    yield from _of_when(rule, at)


def _of_when(rule: Rule, at: str) -> Iterator[Given]:
    for place, one in enumerate(rule.when):
        name = KEYS.get(one.key, one.key)
        if one.values:
            yield Given(f"{at}.when[{place}].values", name, True, one.values)
        if one.not_values:
            yield Given(f"{at}.when[{place}].notValues", name, False, one.not_values)


def of_policy(policy: AuthorizationPolicy) -> Iterator[Given]:
    """Those of all rules."""
    for number, rule in enumerate(policy.rules):
        yield from of_rule(rule, number)


def covers(wide: AuthorizationPolicy, narrow: AuthorizationPolicy, mesh: Mesh) -> bool:
    """Whether `wide` applies wherever `narrow` does, for certain."""
    if wide.targets or narrow.targets:
        same = wide.namespace == narrow.namespace and not wide.selector and not narrow.selector
        return same and bool(narrow.targets) and set(narrow.targets) <= set(wide.targets)
    if wide.namespace not in (narrow.namespace, mesh.root_namespace):
        return False
    return wide.selector.items() <= narrow.selector.items()


def may_meet(one: AuthorizationPolicy, other: AuthorizationPolicy, mesh: Mesh) -> bool:
    """Whether both may apply to the same workload."""
    if bool(one.targets) != bool(other.targets):
        return False
    if one.targets:
        return one.namespace == other.namespace and bool(set(one.targets) & set(other.targets))
    if one.namespace != other.namespace and mesh.root_namespace not in (one.namespace, other.namespace):
        return False
    return all(other.selector.get(name, text) == text for name, text in one.selector.items())
