"""Which orchestration versions run."""

import pytest

from embedded_host.versions import Versions
from tests.embedded_host.steps import Bench, complete


@pytest.mark.parametrize(
    ("versions", "version", "runs"),
    [
        (Versions(), "9", True),
        (Versions("2.0"), "2.0", True),
        (Versions("2.0"), "1.10", True),
        (Versions("2.0"), None, True),
        (Versions("2.0"), "2.1", False),
        (Versions("1.10"), "1.9", True),
        (Versions("1.9"), "1.10", False),
        (Versions("2.0", "Strict"), "1.0", False),
        (Versions("2.0", "None"), "3.0", True),
    ],
)
def test_admits(versions: Versions, version: str | None, runs: bool) -> None:
    """Parts are compared as numbers; no version is older than any."""
    assert versions.admits(version) is runs


async def test_a_start_gets_the_default_and_a_newer_one_waits_for_a_newer_host(bench: Bench) -> None:
    """An older host leaves it alone; a host that knows the version runs it."""
    await bench.backend.close()
    bench.versions = Versions("2.0")
    bench.open()
    await bench.start("a")
    assert bench.backend.find("a").version == "2.0"
    await bench.backend.close()
    bench.versions = Versions("1.0")
    bench.open()
    await bench.quiet()
    await bench.backend.close()
    bench.versions = Versions("2.1")
    bench.open()
    item = await bench.episode(complete())
    assert [e.executionStarted.version.value for e in item.orchestratorRequest.newEvents][-1] == "2.0"
