"""What the tests of the host's own parts share."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.embedded_host.steps import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncGenerator[Bench]:
    """A durable backend on a real file, with the worker's part played by the test."""
    one = Bench(tmp_path / "durable.sqlite")
    one.open()
    yield one
    await one.backend.close()
