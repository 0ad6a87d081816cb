"""The HTTP world: a real service, raw requests as the agent, the service's own journal of the bytes that arrived.

A command is a request as a policy test writes it: method and target, header lines, an empty line, the body; headers and body may be left out.
"""

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path

from gateway_kernel.audit import Decided
from sallyport.local_http import Http, Received, running_http
from sallyport.local_postgres import Postgres
from sallyport.stack import Stack
from tests.support.http import Lost, Reply, Wire
from tests.support.world import (
    AGENT,
    FREE,
    GUARDED,
    PATIENCE,
    POLICY,
    Answer,
    Commands,
    Connection,
    begin,
    bodies,
    eventually,
    failpoint,
    kill,
    kill_edge,
    prepared,
    recordings,
)

PEOPLE = [
    {"id": 1, "name": "Ada", "email": "canary-mail@example.com", "ssn": "219-09-9999"},
    {"id": 2, "name": "Bo", "email": "canary-two@example.org", "ssn": "457-55-5462"},
]
SECRET = "AKIAIOSFODNN7EXAMPLE"
MADE = {"authorization", "content-length", "x-request-id"}
"""Headers that the edge makes: no text holds them. That the first carries the resource's credential is checked where the journal is read."""
NO_RESOURCE = 404
BROKEN = {502, 504}
"""What the edge says of an upstream: no refusal."""


class Sent:
    """A command taken apart."""

    def __init__(self, command: str) -> None:
        head, _, body = command.partition("\n\n")
        first, *lines = head.rstrip("\n").split("\n")
        self.method, _, self.target = first.partition(" ")
        fields = (line.partition(": ") for line in lines)
        self.headers = [(name, value) for name, _, value in fields if name.lower() != "host"]
        self.body = body.encode()

    def text(self, host: str) -> str:
        """In the one form in which it is judged."""
        lines = "".join(f"{name}: {value}\n" for name, value in self.headers)
        return f"{self.method} {self.target}\nHost: {host}\n{lines}"

    def wire(self, resource: str, key: str) -> bytes:
        """As an agent sends it, the resource named by the path."""
        headers = [("Host", "edge"), ("Authorization", f"Bearer {key}"), *self.headers]
        if self.body:
            headers.append(("Content-Length", str(len(self.body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} /{resource}{self.target} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


class HttpConnection:
    """One connection that is kept alive."""

    def __init__(self, wire: Wire, resource: str, key: str) -> None:
        self.wire = wire
        self._resource = resource
        self._key = key

    def send(self, command: str) -> Answer:
        """Request and collect everything the client can see."""
        sent = Sent(command)
        self.wire.send(sent.wire(self._resource, self._key))
        try:
            reply = self.wire.reply(sent.method)
        except Lost as error:
            return Answer(str(error), lost=True)
        return Answer(_seen(reply), refused=refused(reply), lost=reply.ends)


def refused(reply: Reply) -> bool:
    """The edge said no, or not yet: its own problem document (RFC 9457), which the service never sends."""
    return reply.header("content-type").startswith("application/problem+json") and reply.status not in BROKEN


def _seen(reply: Reply) -> str:
    lines = [
        f"{reply.status} {reply.reason}",
        *(f"{name}: {value}" for name, value in (*reply.headers, *reply.trailers)),
    ]
    return "\n".join((*lines, "", reply.body.decode("utf-8", "backslashreplace")))


class HttpWorld:
    """See `World`."""

    protocol = "http"
    canaries: tuple[str, ...] = tuple(str(row[name]) for row in PEOPLE for name in ("email", "ssn"))
    commands = Commands(
        look="GET /counter",
        increment="POST /counter",
        forbidden="DELETE /counter",
        unreadable="GET /counter%zz",
        oversized="POST /notes/oversized\nContent-Type: application/json\n\n" + '"' + "x" * (80 << 10) + '"',
        canary="GET /people",
        with_secret=f'POST /notes\nContent-Type: application/json\n\n{{"note": "{SECRET}"}}',
        secret=SECRET,
        marks={
            "look": "GET /counter\n",
            "increment": "POST /counter\n",
            "forbidden": "DELETE /counter\n",
            "unreadable": "GET /counter%",
            "oversized": "POST /notes/oversized",
        },
    )

    def __init__(self, stack: Stack, service: Http, home: Path) -> None:
        self.stack, self.service, self.home = stack, service, home
        self.injected = service.secret
        self.address = "127.0.0.1:0"
        self.since = self.kills = 0
        self.plain = True  # the edge runs with nothing added to its settings

    def start_edge(self, settings: str = "", *, upstream: int = 0, control: str = "") -> None:
        """Start on the address of the first start; an edge that runs is killed first."""
        if self.stack.edge is not None and self.stack.edge.process.poll() is None:
            kill_edge(self)
        target = f"http://{self.service.host}:{upstream or self.service.port}"
        credential = '{header: Authorization, value: "Bearer {secret}", secret: env://UPSTREAM_PASSWORD}'
        entries = "".join(
            f"- {{name: {name}, protocol: http, upstream: '{target}', credential: {credential}, limits: {{statement: 64KiB}}}}\n"
            for name in (FREE, GUARDED)
        )
        config = self.home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {control or self.stack.url}}}\ndata_dir: {self.home}/edge\nhold: 60s\n{settings}health: 127.0.0.1:0\n"
            f"listeners: {{http: {self.address}}}\nresources:\n{entries}"
        )
        file = str(failpoint(self, "edge"))
        bound = self.stack.start_edge(config, UPSTREAM_PASSWORD=self.injected, SALLYPORT_FAILPOINT_FILE=file)
        self.address = bound["http"]
        self.plain, self.kills = not (settings or upstream or control), 0

    def fresh(self) -> None:
        """See `World`."""
        edge = self.stack.edge
        if not self.plain or self.kills >= PATIENCE or edge is None or edge.process.poll() is not None:
            self.start_edge()
        eventually(self._listens, "the edge accepts connections")
        begin(self)
        self.service.clear_journal()

    def _listens(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 5).close()
        except ConnectionError:
            return False
        return True

    def padded(self, command: str, size: int) -> str:
        """A header that nobody reads."""
        head, gap, body = command.partition("\n\n")
        return f"{head}\nX-Padding: {'x' * size}{gap}{body}"

    def text(self, command: str) -> str:
        """Method, target and headers, with the service's own authority."""
        return Sent(command).text(self.service.authority)

    def opened(self, connection: Connection) -> None:
        """A session begins with its first request: one that is refused and goes nowhere."""
        assert connection.send(self.commands.forbidden).refused

        def told() -> bool:
            return any(bodies(recording, Decided) for recording in recordings(self, closed=False))

        eventually(told, "the session's opening is sealed and shipped")

    @contextlib.contextmanager
    def connect(self, resource: str, *, key: str = "") -> Generator[HttpConnection]:
        """A connection whose requests carry the agent's key, to a worker that lives and knows the key: it has answered one that is no operation."""
        host, _, port = self.address.rpartition(":")
        secret = key or (self.stack.keys / f"agent-{AGENT}").read_text().strip()
        with Wire(host, int(port)) as wire:
            wire.send(f"GET / HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {secret}\r\n\r\n".encode())
            reply = wire.reply()
            if reply.status != NO_RESOURCE:
                raise ConnectionError(_seen(reply))
            yield HttpConnection(wire, resource, secret)

    def counter(self) -> int:
        """Read directly."""
        return self.service.counter

    def journal(self) -> list[str]:
        """What arrived at the service, in the form in which it was judged; its own bytes say so."""
        return [self._text(entry) for entry in self.service.journal()]

    def _text(self, entry: Received) -> str:
        assert entry.header("authorization") == f"Bearer {self.injected}", entry.raw
        kept = [(name, value) for name, value in entry.headers if name.lower() not in MADE]
        return f"{entry.line}\n" + "".join(f"{name}: {value}\n" for name, value in kept)


@contextlib.contextmanager
def http_world(home: Path, _: Postgres, *, policy: str = POLICY, start: bool = True) -> Generator[HttpWorld]:
    """A fresh service behind a fresh stack; everything is stopped afterwards."""
    resources = [{"name": name, "protocol": "http", "labels": {"kind": name}} for name in (FREE, GUARDED)]
    with running_http({"people": PEOPLE, "notes": []}) as service, prepared(home, resources, policy) as stack:
        world = HttpWorld(stack, service, home)
        if start:
            world.start_edge()
        try:
            yield world
        finally:
            kill(world)
