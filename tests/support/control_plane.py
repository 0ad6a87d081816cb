"""A stand-in for the control plane: speaks `gateway_kernel.contract` over HTTP on a port that the system chose, keeps everything in memory.

It takes decisions from the test, checks signatures and chains as the real one must, and can be told to be away, to lose replies, or to have a wrong
clock. It judges nothing and persists nothing; the real one is `function_app`.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import time
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_kernel.audit import AuditEvent, read, verify
from gateway_kernel.chain import GENESIS
from gateway_kernel.contract import (
    VERSION,
    Acknowledged,
    AgentKey,
    Bundle,
    Claim,
    Claimed,
    Feed,
    Problem,
    RegisteredResource,
    Settled,
    SignedBundle,
    SignedSubmission,
    Submission,
    Submitted,
    bundle_bytes,
    decode,
    edge_signing_key,
    encode,
    key_hash,
    submission_bytes,
)
from gateway_kernel.grant import Grant, sign
from gateway_kernel.model import SECOND, Agent
from gateway_kernel.policy import load
from gateway_kernel.review import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EDGE = "edge-1"
EDGE_KEY = f"spe_{EDGE}_0123456789abcdef0123456789abcdef"
AGENT_KEY = "spa_k1_0123456789abcdef0123456789abcdef"

POLICY = """
version: 1
default: deny
groups: {dba: [ann@example.com]}
rules:
- id: reads
  when: operation.effects.all(e, e.kind == "read")
  then: allow
- id: inserts
  when: operation.effects.exists(e, e.kind == "write") && operation.effects.all(e, e.kind in ["read", "write"])
  then: allow
- id: deletes-need-a-person
  when: operation.effects.exists(e, e.kind == "delete")
  then: review
  review: {approvers: [dba], expires: 2h}
- id: no-schema
  when: operation.effects.exists(e, e.kind == "schema")
  then: deny
  reason: Schema changes go through the migration pipeline.
"""


class Review:
    """One review: what was submitted, and what became of it."""

    def __init__(self, name: str, submission: Submission) -> None:
        self.name = name
        self.submission = submission
        self.state = State.OPEN
        self.holder: Claim | None = None
        self.withdrawn_by: Claim | None = None


class ControlPlane:
    """Use as an async context manager. `url` is where it listens."""

    def __init__(self, policy: str = POLICY) -> None:
        self.signing = Ed25519PrivateKey.generate()
        self.policy = policy
        self.resources: tuple[RegisteredResource, ...] = (
            RegisteredResource("orders-db", "postgres", {"env": "prod", "team": "shop"}),
        )
        self.keys: dict[str, AgentKey] = {}
        self.add_key(AGENT_KEY, Agent("ci-bot", groups=("ci",)))
        self.reviews: dict[str, Review] = {}
        self.feed: list[Settled] = []
        self.lines: dict[str, list[bytes]] = {}
        self.calls: list[str] = []
        self.polled: list[int] = []
        self.away = False
        self.lose_replies = 0
        self.clock_ahead = 0.0
        self.refuse_submissions: Problem | None = None
        self.url = ""
        self.port = 0
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._issued = 0

    def add_key(self, key: str, agent: Agent, **fields: object) -> None:
        """Give `agent` a key; `fields` are those of `AgentKey`."""
        self.keys[key] = msgspec.convert(
            {"id": key.split("_")[1], "hash": key_hash(key), "agent": msgspec.to_builtins(agent), **fields}, AgentKey
        )

    # -- what a test does ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> ControlPlane:
        app = web.Application(middlewares=[self._guard])
        base = f"/v1/edges/{EDGE}"
        app.add_routes(
            [
                web.get(base + "/bundle", self._bundle),
                web.post(base + "/operations", self._operations),
                web.get(base + "/decisions", self._decisions),
                web.post(base + "/grants/{grant}/consume", self._consume),
                web.post(base + "/grants/{grant}/release", self._release),
                web.post(base + "/reviews/{review}/withdraw", self._withdraw),
                web.post(base + "/events", self._events),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def until[T](self, found: Callable[[], T], limit: float = 20.0) -> T:
        """Wait until `found` gives something true, and return it. Looked at whenever anything arrives here."""
        async with asyncio.timeout(limit), self._changed:
            while not (value := found()):
                await self._changed.wait()
            return value

    def polls_from(self, cursor: int) -> bool:
        """True once an edge has asked for what settled after `cursor`, so has kept all before it."""
        return cursor in self.polled

    async def review(self, number: int = 1) -> Review:
        """Wait for the review of this number."""
        return await self.until(lambda: self.reviews.get(f"r-{number}"))  # type: ignore[return-value]

    async def settle(self, review: Review, state: State, reason: str = "", **grant: object) -> None:
        """Settle a review; `grant` overrides fields of the grant that an approval signs."""
        review.state = state
        signed = None
        if state is State.APPROVED:
            now = time.time_ns() // 1000
            fields = {
                "id": f"g-{review.name}",
                "review": review.name,
                "digest": review.submission.digest,
                "agent": review.submission.session.agent.name,
                "resource": review.submission.session.resource.name,
                "issued": now,
                "expires": now + 600 * SECOND,
                "approvers": ("ann@example.com",),
                "policy": review.submission.policy,
            } | grant
            signed = sign(msgspec.convert(fields, Grant), self.signing, "key-1")
        self.feed.append(Settled(len(self.feed) + 1, review.name, state, reason, signed))
        await self._notify()

    async def events(self, what: Callable[[AuditEvent], bool], limit: float = 20.0) -> list[AuditEvent]:
        """Wait until an event for which `what` is true is stored; return every event stored so far."""

        def found() -> list[AuditEvent]:
            events = self.stored()
            return events if any(what(event) for event in events) else []

        return await self.until(found, limit)

    def stored(self) -> list[AuditEvent]:
        """Every event stored so far, after verifying the chain of each session."""
        for session, lines in self.lines.items():
            verify(session, lines)
        return [read(line) for lines in self.lines.values() for line in lines]

    # -- the contract -------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.away:
            return web.Response(status=503)
        if request.headers.get("Authorization") != f"Bearer {EDGE_KEY}":
            return _problem(Problem("unauthenticated", "Not an edge key", 401))
        self.calls.append(f"{request.method} {request.path.removeprefix(f'/v1/edges/{EDGE}')}")
        response = await handler(request)
        response.headers["Date"] = email.utils.formatdate(time.time() + self.clock_ahead, usegmt=True)
        await self._notify()
        if self.lose_replies and request.method == "POST" and "events" not in request.path:
            self.lose_replies -= 1
            assert request.transport is not None
            request.transport.abort()
        return response

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _bundle(self, request: web.Request) -> web.Response:
        try:
            digest = load(self.policy).digest
        except Exception:  # noqa: BLE001 - a test hands out a policy that does not load
            digest = "does not load"
        content = (self.policy, self.resources, tuple(self.keys.values()))
        etag = f'"{hashlib.sha256(msgspec.json.encode(content)).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        self._issued += 1
        raw = self.signing.public_key().public_bytes_raw()
        bundle = Bundle(
            v=VERSION,
            edge=EDGE,
            issued=time.time_ns() // 1000,
            revision=str(self._issued),
            policy=self.policy,
            policy_digest=digest,
            policy_version=self._issued,
            resources=self.resources,
            keys=tuple(self.keys.values()),
            grant_keys={"key-1": raw},
        )
        payload = encode(bundle)
        signed = SignedBundle(payload, "key-1", self.signing.sign(bundle_bytes(payload)))
        return web.Response(body=encode(signed), headers={"ETag": etag})

    async def _operations(self, request: web.Request) -> web.Response:
        if self.refuse_submissions is not None:
            return _problem(self.refuse_submissions)
        signed = decode(await request.read(), SignedSubmission)
        edge_signing_key(EDGE_KEY).public_key().verify(signed.signature, submission_bytes(signed.payload))
        submission = decode(signed.payload, Submission)
        for review in self.reviews.values():
            if review.submission.digest == submission.digest and review.state in (State.OPEN, State.APPROVED):
                return _reply(Submitted(review.name, review.state, self._page(review), joined=True), 202)
        review = Review(f"r-{len(self.reviews) + 1}", submission)
        self.reviews[review.name] = review
        return _reply(Submitted(review.name, State.OPEN, self._page(review)), 202)

    def _page(self, review: Review) -> str:
        return f"{self.url}/reviews/{review.name}"

    async def _decisions(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        self.polled.append(after)
        await self._notify()
        try:
            async with asyncio.timeout(float(request.query["wait"])), self._changed:
                while len(self.feed) <= after:
                    await self._changed.wait()
        except TimeoutError:
            return _reply(Feed(after))
        return _reply(Feed(len(self.feed), tuple(self.feed[after:])))

    async def _consume(self, request: web.Request) -> web.Response:
        claim, review = decode(await request.read(), Claim), self._of_grant(request)
        if review.holder is None:
            review.holder, review.state = claim, State.USED
        ours = review.holder == claim
        return _reply(
            Claimed(ours, review.holder.operation, reason="" if ours else "It was used by another operation.")
        )

    async def _release(self, request: web.Request) -> web.Response:
        claim, review = decode(await request.read(), Claim), self._of_grant(request)
        if review.holder == claim:
            review.holder, review.state = None, State.APPROVED
        return _reply(Claimed(ours=review.holder is None))

    def _of_grant(self, request: web.Request) -> Review:
        return self.reviews[request.match_info["grant"].removeprefix("g-")]

    async def _withdraw(self, request: web.Request) -> web.Response:
        review = self.reviews[request.match_info["review"]]
        review.state, review.withdrawn_by = State.WITHDRAWN, decode(await request.read(), Claim)
        return _reply(Submitted(review.name, review.state, self._page(review)))

    async def _events(self, request: web.Request) -> web.Response:
        following: dict[str, int] = {}
        for line in (await request.read()).splitlines():
            event = read(line)
            kept = self.lines.setdefault(event.session, [])
            if event.sequence < len(kept):
                assert kept[event.sequence] == line, "another event was shipped under the same number"
            else:
                assert event.sequence == len(kept), f"event {len(kept)} of {event.session} was skipped"
                previous = hashlib.sha256(kept[-1]).hexdigest() if kept else GENESIS
                assert event.previous == previous, "the chain is broken"
                kept.append(line)
            following[event.session] = len(kept)
        return _reply(Acknowledged(following))


def _reply(message: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(message), content_type="application/json")


def _problem(problem: Problem) -> web.Response:
    return web.Response(status=problem.status, body=encode(problem), content_type="application/problem+json")
