"""What the plain evaluators take and say: one call, one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Call = Mapping[str, Any]
"""`transport` (http or tcp), `attributes` (a mapping), and where they were logged `tls`, `source_principal`,
`source_namespace`, `source_workload`, `source_ip`, `source_remote_ip`, `destination_ip`, `destination_port`, `method`,
`path`, `authority`, `sni`. Addresses are text; `::` as `source_remote_ip` is the peer's own, `source_ip`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, and the policy and rule that it rests on: None where no rule matched, or it is not known which."""

    verdict: Literal["allow", "deny", "unknown"]
    policy: str | None = None
    rule: str | None = None
