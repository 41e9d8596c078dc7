"""What of the mesh's own settings bears on verdicts: the ConfigMap `istio`, and RequestAuthentications.

Source: istio.io/api mesh/v1alpha1/config.proto, security/v1/request_authentication.proto.
"""

from __future__ import annotations

from analyzers.policy.documents import Value, read_documents
from analyzers.policy.istio.model import Mesh, RequestAuthentication
from analyzers.policy.istio.read import read_match_labels, read_targets

_EMPTY = Mesh()
NORMALIZATIONS = ("DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


def read_config_map(document: Value, namespace: str) -> Mesh | None:
    """The settings in `data.mesh`; None for any other ConfigMap.

    Raises:
        BadPolicy: the text is no YAML, or a setting has the wrong type.
    """
    del namespace
    data = document.get("data")
    text = data.get("mesh") if data and data.is_map else None
    if text is None:
        return None
    roots = [*read_documents(f"{text.place}, from there", text.text().encode())] if text.text().strip() else []
    if not roots:
        return _EMPTY
    # The file has many more settings than bear on verdicts.
    root = roots[0]
    aliases, normal = root.get("trustDomainAliases"), root.get("pathNormalization")
    said = normal.get("normalization") if normal else None
    if said:
        said.one_of(*NORMALIZATIONS)
    return Mesh(
        root_namespace=_text(root.get("rootNamespace"), _EMPTY.root_namespace),
        trust_domain=_text(root.get("trustDomain"), _EMPTY.trust_domain),
        trust_domain_aliases=tuple(aliases.texts()) if aliases else (),
    )


def _text(value: Value | None, default: str) -> str:
    return (value.text() if value else "") or default


def read_request_authentication(document: Value, namespace: str) -> RequestAuthentication:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Istio would refuse it; says line, field and what is allowed there.
    """
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    name = (metadata.get("name") or metadata.refuse("no name, expected one")).text()
    own, spec = metadata.get("namespace"), document.get("spec")
    fields = spec.fields("selector", "targetRef", "targetRefs", "jwtRules") if spec else {}
    if "selector" in fields and ("targetRef" in fields or "targetRefs" in fields):
        fields["selector"].refuse("selector and targetRefs, expected one of both")
    rules = fields["jwtRules"].items() if "jwtRules" in fields else []
    for rule in rules:
        issuer = rule.get("issuer")
        if issuer is None or not issuer.text():
            rule.refuse("no issuer, expected whose tokens are taken")
    return RequestAuthentication(
        namespace=own.text() if own else namespace,
        name=name,
        selector=read_match_labels(fields.get("selector")),
        targets=read_targets(fields),
        rules=len(rules),
    )
