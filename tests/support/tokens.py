"""JSON Web Tokens that Envoy accepts: a key, its set of keys, and the filter that checks tokens as Istio sets it up."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.istio_rbac import Json, typed

_WIDTH = 32
"""Bytes of a number of P-256."""


class Issuer:
    """Signs tokens (ES256) with a key of its own, for any issuer's name."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def token(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims and no others."""
        head = {"alg": "ES256", "typ": "JWT", "kid": "k"}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, dict(claims)))
        numbers = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(b''.join(one.to_bytes(_WIDTH) for one in numbers))}"

    def filter(self) -> Json:
        """The HTTP filter: a token must be right where there is one."""
        public = self._key.public_key().public_numbers()
        x, y = (_encoded(one.to_bytes(_WIDTH)) for one in (public.x, public.y))
        keys = {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k", "x": x, "y": y}]}
        provider = {
            "local_jwks": {"inline_string": json.dumps(keys)},
            "payload_in_metadata": "payload",
            "forward": True,
        }
        requires = {"requires_any": {"requirements": [{"provider_name": "any"}, {"allow_missing": {}}]}}
        return typed(
            "envoy.filters.http.jwt_authn",
            "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"any": provider},
            rules=[{"match": {"prefix": "/"}, "requires": requires}],
        )


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
