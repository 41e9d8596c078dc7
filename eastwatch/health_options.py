"""Settings of the health endpoint: `health` in the settings tree."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HealthOptions(BaseModel):
    """Where health and metrics are served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(
        default="127.0.0.1:9464",
        description="HOST:PORT of /healthz, /readyz and /metrics under `eastwatch up`; nobody is asked for a password, "
        "so other addresses than this machine's are for networks that are trusted; empty = none",
    )
