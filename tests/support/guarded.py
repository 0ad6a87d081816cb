"""PostgreSQL databases behind a whole Sallyport under one policy: control plane, edge, and a wire tap in front of it."""

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from sallyport.local_postgres import Postgres
from sallyport.stack import Stack
from tests.support.relay import Relay, relay

AGENT = "probe-bot"


class Behind(NamedTuple):
    """A resource: the database behind it, its labels, and the role whose credential the edge injects."""

    database: str
    labels: Mapping[str, str] = {}
    role: str = "postgres"


class Guarded(NamedTuple):
    """How to reach the resources. `parameters` and `connect` go through the tap."""

    stack: Stack
    key: str
    tap: Relay
    edge: str

    def parameters(self, resource: str) -> dict[str, str]:
        """Connection parameters, libpq names."""
        return {
            "host": "127.0.0.1", "port": str(self.tap.port), "user": AGENT, "password": self.key, "dbname": resource,
            "sslmode": "disable",
        }  # fmt: skip

    def url(self, resource: str) -> str:
        """The same as a connection string."""
        return f"postgresql://{AGENT}:{self.key}@127.0.0.1:{self.tap.port}/{resource}?sslmode=disable"

    def connect(self, resource: str, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """psycopg through the tap."""
        return psycopg.connect(self.url(resource), autocommit=autocommit, connect_timeout=15)


@contextlib.contextmanager
def guarded(
    home: Path,
    postgres: Postgres,
    policy: str,
    resources: Mapping[str, Behind],
    *,
    edge: str = "",
    **settings: str,
) -> Generator[Guarded]:
    """Start everything and stop it at the end. `edge` is added to edge.yaml, `settings` to the control plane's environment."""
    with Stack(home) as stack:
        url = stack.start_control_plane(**settings)
        stack.push_policy(policy)
        key = stack.add_agent(AGENT)
        stack.register_edge(
            [{"name": name, "protocol": "postgres", "labels": dict(it.labels)} for name, it in resources.items()]
        )
        entries = "".join(
            f"- {{name: {name}, protocol: postgres, credential: env://UPSTREAM_PASSWORD, "
            f"upstream: 'postgresql://{it.role}@{postgres.host}:{postgres.port}/{it.database}?sslmode=disable'}}\n"
            for name, it in resources.items()
        )
        config = home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {url}}}\ndata_dir: {home}/edge\n{edge}\n"
            f"listeners: {{postgres: 127.0.0.1:0}}\nresources:\n{entries}"
        )
        bound = stack.start_edge(config, UPSTREAM_PASSWORD=postgres.password)
        with relay(bound["postgres"]) as tap:
            yield Guarded(stack, key, tap, bound["postgres"])
