"""HTTP services behind a whole Sallyport under one policy: control plane and edge, and raw requests through them."""

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

from sallyport.local_http import Http
from sallyport.stack import Stack
from tests.support.http import Wire

AGENT = "probe-bot"


class Behind(NamedTuple):
    """A resource: the service behind it, its labels, and what else its entry in edge.yaml says (YAML, two spaces deep)."""

    service: Http
    labels: Mapping[str, str] = {}
    more: str = ""
    port: int = 0
    """Another port than the service's, where something stands between."""


class Guarded(NamedTuple):
    """How to reach the resources."""

    stack: Stack
    key: str
    address: str

    def wire(self) -> Wire:
        """A connection to the edge."""
        host, _, port = self.address.rpartition(":")
        return Wire(host, int(port))

    def base(self, resource: str) -> str:
        """The resource's URL, without a slash at its end."""
        return f"http://{self.address}/{resource}"

    def request(self, resource: str, line: str, *headers: str, body: bytes = b"") -> bytes:
        """A request of the agent: `line` is method and target, Host and its key are added, and a length if there is a body."""
        method, _, target = line.partition(" ")
        lines = [
            f"{method} /{resource}{target} HTTP/1.1",
            f"Host: {self.address}",
            f"Authorization: Bearer {self.key}",
            *headers,
        ]
        if body and not any(header.lower().startswith(("content-length:", "transfer-encoding:")) for header in headers):
            lines.append(f"Content-Length: {len(body)}")
        return "".join(f"{each}\r\n" for each in lines).encode("latin-1") + b"\r\n" + body


@contextlib.contextmanager
def guarded_http(
    home: Path, policy: str, resources: Mapping[str, Behind], *, edge: str = "", **settings: str
) -> Generator[Guarded]:
    """Start everything and stop it at the end. `edge` is added to edge.yaml, `settings` to the control plane's environment."""
    with Stack(home) as stack:
        url = stack.start_control_plane(**settings)
        stack.push_policy(policy)
        key = stack.add_agent(AGENT)
        stack.register_edge(
            [{"name": name, "protocol": "http", "labels": dict(it.labels)} for name, it in resources.items()]
        )
        config = home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {url}}}\ndata_dir: {home}/edge\n{edge}\nlisteners: {{http: 127.0.0.1:0}}\nresources:\n"
            + "".join(_entry(name, it) for name, it in resources.items())
        )
        variables = {f"SECRET_{name.upper()}": it.service.secret for name, it in resources.items()}
        bound = stack.start_edge(config, **variables)
        yield Guarded(stack, key, bound["http"])


def _entry(name: str, it: Behind) -> str:
    query = "?sslrootcert=" + str(it.service.certificate) if it.service.tls else ""
    port = it.port or it.service.port
    origin = f"{'https' if it.service.tls else 'http'}://{it.service.host}:{port}"
    return (
        f"- name: {name}\n  protocol: http\n  upstream: '{origin}{query}'\n"
        f'  credential: {{header: Authorization, value: "Bearer {{secret}}", secret: env://SECRET_{name.upper()}}}\n{it.more}'
    )
