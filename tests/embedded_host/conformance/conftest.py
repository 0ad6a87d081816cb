"""One host for the whole suite: ours, or the one that SALLYPORT_CONFORMANCE_URL names."""

from collections.abc import AsyncGenerator, Generator

import pytest

from tests.embedded_host.support import CONFORMANCE_APP, HostProcess, Site, elsewhere, site_of


@pytest.fixture(scope="session")
def host_address(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, str]]:
    """URL and master key."""
    if (other := elsewhere()) is not None:
        yield other
        return
    host = HostProcess(CONFORMANCE_APP, tmp_path_factory.mktemp("conformance"))
    yield host.start(), host.master_key
    assert host.stop() == 0


@pytest.fixture
async def site(host_address: tuple[str, str]) -> AsyncGenerator[Site]:
    """The host as its users see it."""
    async with site_of(*host_address) as one:
        yield one
