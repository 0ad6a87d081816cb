"""Real PostgreSQL servers as fixtures: one of the distribution, with TLS, and version 18 from the package index."""

from collections.abc import Iterator

import pytest

from sallyport.local_postgres import Postgres, Ran, packaged_binaries, running_postgres, self_signed

__all__ = ["Postgres", "Ran", "running_postgres", "self_signed"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The distribution's PostgreSQL, one for the whole test session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Postgres]:
    """PostgreSQL 18 from the package index (a build without TLS), one for the whole test session."""
    with running_postgres(packaged_binaries(), tls=False) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty database on the shared server."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)
