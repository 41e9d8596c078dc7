"""Settings of analyzers that look for findings again and again: `analysis` in the settings tree."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AnalysisOptions(BaseModel):
    """How often findings are looked for, and in what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        description="seconds between two looks for findings under `eastwatch up`; 0 = none, `eastwatch analyze` looks",
    )
    window_s: float = Field(
        default=3600.0,
        ge=60,
        le=86_400,
        description="seconds up to now that are looked at each time; longer where an episode began before",
    )
