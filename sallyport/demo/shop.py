"""The demo's shop: a database and an HTTP service behind a whole Sallyport on this machine. `sallyport up` guards the same."""

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

from sallyport.local_http import Http
from sallyport.local_postgres import Postgres
from sallyport.stack import Stack

EXAMPLES = Path(__file__).parents[2] / "examples" / "demo"
APPROVER, AGENT = "dana@example.com", "ci-bot"
DATABASE, SERVICE = "shop", "billing"
"""The two resources, by name."""
LABELS = {"env": "prod", "data": "pii"}
ANY_PORT = {"postgres": "127.0.0.1:0", "http": "127.0.0.1:0"}
HOLD = 5  # seconds for which the edge holds an agent that waits for people, before it tells it to come back


class Shop(NamedTuple):
    """The running stack, what stands behind it, and where each listener of the edge is (host:port)."""

    stack: Stack
    postgres: Postgres
    database: str
    service: Http
    listeners: dict[str, str]


@contextlib.contextmanager
def shop(
    home: Path,
    postgres: Postgres,
    service: Http,
    *,
    control_port: int = 0,
    listen: Mapping[str, str] = ANY_PORT,
    hold: int = HOLD,
) -> Generator[Shop]:
    """Set everything up and start it; stopped with the block."""
    database = postgres.create_database((EXAMPLES / "schema.sql").read_text())
    mode = f"verify-full&sslrootcert={postgres.certificate}" if postgres.tls else "disable"
    with Stack(home, control_port=control_port) as sallyport:
        url = sallyport.start_control_plane()
        sallyport.push_policy((EXAMPLES / "policy.yaml").read_text(), "the demo's policy")
        sallyport.add_agent(AGENT, owners=["dev.lead@example.com"])
        sallyport.add_person(APPROVER)
        sallyport.register_edge(
            [
                {"name": DATABASE, "protocol": "postgres", "labels": LABELS},
                {"name": SERVICE, "protocol": "http", "labels": LABELS},
            ]
        )
        config = home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {url}}}\n"
            f"data_dir: {home}/edge\n"
            f"hold: {hold}s\n"
            f"listeners: {{postgres: {listen['postgres']}, http: {listen['http']}}}\n"
            f"resources:\n"
            f"- name: {DATABASE}\n"
            f"  protocol: postgres\n"
            f"  upstream: postgresql://app_role@{postgres.host}:{postgres.port}/{database}?sslmode={mode}\n"
            f"  credential: env://SHOP_PASSWORD\n"
            f"  labels: {{env: prod, data: pii}}\n"
            f"- name: {SERVICE}\n"
            f"  protocol: http\n"
            f"  upstream: {service.origin}\n"
            f"  credential: {{header: Authorization, value: 'Bearer {{secret}}', secret: env://BILLING_TOKEN}}\n"
            f"  labels: {{env: prod, data: pii}}\n"
        )
        postgres.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO app_role", database)
        bound = sallyport.start_edge(config, SHOP_PASSWORD=postgres.password, BILLING_TOKEN=service.secret)
        yield Shop(sallyport, postgres, database, service, bound)
