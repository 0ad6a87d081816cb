"""The real control plane as a process: the unmodified function app on `embedded_host`, reached over HTTP.

`ControlPlaneProcess` starts, kills and restarts it on one data directory; `Edge` speaks the edge's side of the contract, judging with
the kernel as a real edge does.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import pytest

from gateway_kernel.audit import Body, SessionOpened
from gateway_kernel.chain import Chain
from gateway_kernel.contract import (
    VERSION,
    Bundle,
    Claim,
    Claimed,
    Feed,
    SignedBundle,
    SignedSubmission,
    Submission,
    Submitted,
    decode,
    edge_signing_key,
    encode,
    submission_bytes,
    without_facts,
)
from gateway_kernel.grant import digest
from gateway_kernel.judge import judge
from gateway_kernel.model import Agent, Instant, Operation, Parameter, Resource, Session
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.policy import load
from gateway_kernel.verdict import Decision

ROOT = Path(__file__).parents[2]
READY_LIMIT = 60.0
LIMIT = 30.0
"""Seconds for anything that a test waits for."""
APPROVERS = ("ann@example.com", "bob@example.com", "carol@example.com")
OWNER = "owner@example.com"

POLICY = """
version: 1
default: deny
groups:
  dba: [ann@example.com, bob@example.com, owner@example.com]
  lead: [carol@example.com]
rules:
- id: reads
  when: operation.effects.all(e, e.kind == "read")
  then: allow
- id: writes-need-two
  when: operation.effects.exists(e, e.kind == "write")
  then: review
  reason: Two people look at writes.
  review: {approvers: [dba], quorum: 2, expires: 2h}
- id: deletes-need-one
  when: operation.effects.exists(e, e.kind == "delete")
  then: review
  reason: Deletes are looked at.
  review: {approvers: [dba], quorum: 1, expires: 2h, link_decides: true}
- id: no-ddl
  when: operation.effects.exists(e, e.kind == "schema")
  then: deny
  reason: Schema changes go through the pipeline.
"""


class Reply(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class ControlPlaneProcess:
    """One control plane on `directory`; `settings` are further environment variables."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.settings = settings
        self.admin_key = f"spm_{secrets.token_urlsafe(32)}"
        self.people: dict[str, str] = {}
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, **settings: str) -> None:
        """Start it (again) and wait until it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SALLYPORT_")}
        environment |= {
            "SALLYPORT_DATA_DIR": str(self.directory / "data"),
            "SALLYPORT_BOOTSTRAP_ADMIN_KEY": self.admin_key,
            "SALLYPORT_NOTIFIERS": "log,outbox",
            **self.settings,
            **settings,
        }
        port = self.url.rsplit(":", 1)[1] if self.url else "0"
        command = [sys.executable, "-m", "embedded_host", "--app", str(ROOT), "--port", port]
        command += ["--data", str(self.directory / "host")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.kill()
            raise RuntimeError(f"the control plane did not start: {line!r}\n{self.log[-2000:]}")
        self.url = line.split()[1]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """End it gracefully."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def died(self, within: float = LIMIT) -> bool:
        """True once it was killed by its failpoint."""
        assert self.process is not None
        try:
            return self.process.wait(within) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str = "",
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request, redirects not followed."""
        sent = dict(headers or {})
        if key:
            sent["Authorization"] = f"Bearer {key}"
        if json is not None:
            data = msgspec.json.encode(json)
            sent.setdefault("Content-Type", "application/json")
        timeout = aiohttp.ClientTimeout(total=LIMIT + 10)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, self.url + path, data=data, headers=sent, allow_redirects=False) as reply,
        ):
            return Reply(
                reply.status, {name.lower(): value for name, value in reply.headers.items()}, await reply.read()
            )

    async def admin(self, method: str, path: str, json: Any = None) -> Any:
        """One request as administrator, which must succeed."""
        reply = await self.call(method, path, key=self.admin_key, json=json)
        assert reply.status < 300, f"{method} {path}: {reply.status} {reply.text}"
        return reply.json if reply.body else None

    async def furnish(self, policy: str = POLICY) -> "Edge":
        """People, an agent with an owner, an edge with one resource, a policy; returns the edge."""
        for person in (*APPROVERS, OWNER):
            self.people[person] = (await self.admin("POST", "/v1/people", {"person": person}))["key"]
        return await self.new_edge(policy)

    async def new_edge(self, policy: str = POLICY) -> "Edge":
        """A further edge with its own agent and resource, so that tests on one process do not meet."""
        mark = secrets.token_hex(3)
        agent, resource, name = f"bot-{mark}", f"orders-{mark}", f"edge-{mark}"
        await self.admin("POST", "/v1/agents", {"name": agent, "groups": ["ci"], "owners": [OWNER]})
        labels = {"env": "prod"}
        edge = await self.admin(
            "PUT",
            f"/v1/edges/{name}",
            {"resources": [{"name": resource, "protocol": "postgres", "labels": labels}], "agents": [agent]},
        )
        await self.admin("POST", "/v1/policies", {"text": policy})
        session = Session(
            f"s-{mark}", Agent(agent, ("ci",), owners=(OWNER,)), Resource(resource, "postgres", labels), now()
        )
        return Edge(self, name, edge["key"], session, policy)

    async def decide(self, review: str, person: str, choice: str = "approve", identifier: str = "") -> Reply:
        """A person's decision over the API."""
        body = {"id": identifier or secrets.token_hex(8), "choice": choice, "reason": "looked at it"}
        return await self.call("POST", f"/v1/reviews/{review}/decisions", key=self.people[person], json=body)

    async def review(self, review: str) -> Any:
        return await self.admin("GET", f"/v1/reviews/{review}")

    async def until_judged(self, review: str) -> Any:
        """Wait until the orchestration has opened the review, or ended it."""
        return await self.until(review, lambda shown: shown["judged"] or shown["state"] != "open")

    async def until(self, review: str, holds: Callable[[Any], bool]) -> Any:
        """Wait for something about a review."""
        end = time.monotonic() + LIMIT
        while True:
            shown = await self.review(review)
            if holds(shown):
                return shown
            assert time.monotonic() < end, f"review {review} stayed {shown}"
            await asyncio.sleep(0.02)


class Edge:
    """An edge with one agent, one session and one resource."""

    def __init__(self, plane: ControlPlaneProcess, name: str, key: str, session: Session, policy: str) -> None:
        self.plane = plane
        self.name = name
        self.key = key
        self.session = session
        self.policy = load(policy)
        self.cursor = 0

    def operation(self, text: str, *parameters: Parameter) -> Operation:
        """A new operation of that text, in a database with one table `orders(id, note)`."""
        context = {"role": "app", "database": "orders", "search_path": ["public"]}
        operation = Operation(f"o-{secrets.token_hex(6)}", "postgres", text, parameters, context, size=len(text))
        return reader_for("postgres").declare(operation, {"orders": ("id", "note")})

    def submission(self, operation: Operation, /, **changed: Any) -> Submission:
        """The submission of an operation as this edge judges it; `changed` fields are lies."""
        moment = now()
        judged = judge(operation, self.session, self.policy, moment)
        final = judged.operation
        said = Submission(
            VERSION,
            self.name,
            self.session,
            without_facts(final),
            digest(final, self.session.resource.name),
            Decision.REVIEW,
            judged.verdict.rules,
            self.policy.digest,
            moment,
            None if judged.original is None else without_facts(judged.original),
        )
        return msgspec.structs.replace(said, **changed)

    async def post(self, submission: Submission, *, key: str = "", signature: bytes | None = None) -> Reply:
        """Sign and send a submission."""
        payload = encode(submission)
        signed = edge_signing_key(self.key).sign(submission_bytes(payload)) if signature is None else signature
        return await self.call("POST", "/operations", encode(SignedSubmission(payload, signed)), key=key)

    async def submit(self, text: str, *parameters: Parameter) -> tuple[Operation, Submitted]:
        """Submit a new operation, which must be taken."""
        operation = self.operation(text, *parameters)
        reply = await self.post(self.submission(operation))
        assert reply.status == 202, reply.text
        return operation, decode(reply.body, Submitted)

    async def call(self, method: str, path: str, data: bytes | None = None, *, key: str = "", **headers: str) -> Reply:
        return await self.plane.call(
            method, f"/v1/edges/{self.name}{path}", key=key or self.key, data=data, headers=headers
        )

    async def feed(self, wait: int = 20) -> Feed:
        """What settled since the last feed."""
        reply = await self.call("GET", f"/decisions?after={self.cursor}&wait={wait}")
        assert reply.status == 200, reply.text
        feed = decode(reply.body, Feed)
        self.cursor = feed.cursor
        return feed

    async def claim(self, kind: str, grant: str, operation: str) -> Claimed:
        """`kind` is consume or release."""
        reply = await self.call("POST", f"/grants/{grant}/{kind}", encode(Claim(operation, self.session.id)))
        assert reply.status == 200, reply.text
        return decode(reply.body, Claimed)

    async def bundle(self) -> Bundle:
        reply = await self.call("GET", "/bundle")
        assert reply.status == 200, reply.text
        return decode(decode(reply.body, SignedBundle).payload, Bundle)

    def recording(self, session: str = "") -> tuple[Chain, list[bytes]]:
        """A chain whose first line opens a session of this edge."""
        identifier = session or f"rec-{secrets.token_hex(4)}"
        chain = Chain(identifier)
        opened = SessionOpened(self.session.agent, self.session.resource, "enforce", self.name, "127.0.0.1")
        return chain, [chain.link(opened, now())]

    async def ingest(self, lines: list[bytes]) -> Reply:
        return await self.call("POST", "/events", b"".join(line + b"\n" for line in lines))


def linked(chain: Chain, *bodies: Body) -> list[bytes]:
    """Lines for these bodies."""
    return [chain.link(body, now()) for body in bodies]


def now() -> Instant:
    return time.time_ns() // 1000


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneProcess]:
    """One furnished control plane for the whole test session; tests take an edge of their own from it."""
    with ControlPlaneProcess(tmp_path_factory.mktemp("control-plane")) as process:
        asyncio.run(process.furnish())
        yield process
