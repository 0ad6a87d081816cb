"""The edge's side of `gateway_kernel.contract`: every call to the control plane, over HTTP(S), as this edge and nobody
else.

TLS is verified and redirects are not followed. Calls that are safe to repeat (all of them are) can be retried with
`insist`. Each reply's Date is held against this machine's clock, because grants expire by it. It keeps no state about
reviews: see `reviews`.
"""

import asyncio
import email.utils
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from edge_agent import failpoints
from gateway_kernel.contract import (
    LARGEST_SUBMISSION,
    LONGEST_POLL,
    VERSION,
    Acknowledged,
    Claim,
    Claimed,
    Feed,
    Problem,
    SignedBundle,
    SignedSubmission,
    Submission,
    Submitted,
    decode,
    edge_signing_key,
    encode,
    submission_bytes,
)
from gateway_kernel.grant import CLOCK_SKEW
from gateway_kernel.model import SECOND

CALL_LIMIT = 10.0  # seconds for one call other than the held poll
CONNECT_LIMIT = 3.0
INSIST_LIMIT = 20.0  # seconds for which a claim on a grant is repeated while an agent waits
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 15.0  # seconds between repetitions, doubled each time, with jitter


class ControlPlaneError(Exception):
    """A call to the control plane did not do what it was for. The text says why and holds no secret."""


class UnavailableError(ControlPlaneError):
    """Nobody knows whether the call was taken: not reachable, no answer in time, an answer that makes no sense. Repeat it."""


class RefusedError(ControlPlaneError):
    """The control plane said no; repeating will not help. `problem` is its own document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem


class ControlClient:
    """Use as an async context manager. `edge` is this edge's name, `key` its edge key."""

    def __init__(self, url: str, edge: str, key: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._url = f"{url}/v1/edges/{edge}"
        self._edge = edge
        self._headers = {"Authorization": f"Bearer {key}"}
        self._signing = edge_signing_key(key)
        self._tls = tls or True
        self._session: aiohttp.ClientSession | None = None
        self.skew = 0.0  # seconds by which the control plane's clock is ahead of ours, as of its last reply
        self.reachable = False

    def __repr__(self) -> str:
        return f"ControlClient({self._url!r})"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64, ssl=self._tls),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=CALL_LIMIT, sock_connect=CONNECT_LIMIT),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def clock_problem(self) -> str:
        """What is wrong with the clocks, or an empty string. With a difference beyond the tolerance no grant can be trusted."""
        if abs(self.skew) * SECOND <= CLOCK_SKEW + SECOND:  # the Date header counts in whole seconds
            return ""
        direction = "ahead of" if self.skew > 0 else "behind"
        return (
            f"the control plane's clock is {abs(self.skew):.0f} s {direction} this edge's, more than "
            f"{CLOCK_SKEW // SECOND} s: set the clocks (NTP), then ask again"
        )

    async def bundle(self, etag: str) -> tuple[SignedBundle, str] | None:
        """The signed bundle and its ETag, or None if `etag` still names the current one."""
        failpoints.reach("bundle:before")
        status, headers, body = await self._call("GET", "/bundle", headers={"If-None-Match": etag} if etag else {})
        failpoints.reach("bundle:after")
        if status == 304:
            return None
        return self._read(body, SignedBundle), headers.get("ETag", "")

    async def submit(self, submission: Submission) -> Submitted:
        """Ask people about an operation: opens a review or joins the open one."""
        payload = encode(submission)
        if len(payload) > LARGEST_SUBMISSION:
            title = f"the operation encodes to {len(payload)} bytes; at most {LARGEST_SUBMISSION} can be reviewed"
            raise RefusedError(Problem("too-large", title, 413))
        signed = encode(SignedSubmission(payload, self._signing.sign(submission_bytes(payload))))
        failpoints.reach("submit:before")
        _, _, body = await self._call("POST", "/operations", signed)
        failpoints.reach("submit:after")
        return self._read(body, Submitted)

    async def decisions(self, after: int) -> Feed:
        """Reviews of this edge that settled after the cursor; held by the control plane until there is one."""
        failpoints.reach("decisions:before")
        path = f"/decisions?after={after}&wait={LONGEST_POLL}"
        _, _, body = await self._call("GET", path, limit=LONGEST_POLL + CALL_LIMIT)
        failpoints.reach("decisions:after")
        return self._read(body, Feed)

    async def consume(self, grant: str, claim: Claim) -> Claimed:
        """Use the grant up for this operation, atomically; repeating it gives the same answer."""
        failpoints.reach("consume:before")
        _, _, body = await self._call("POST", f"/grants/{grant}/consume", encode(claim))
        failpoints.reach("consume:after")
        return self._read(body, Claimed)

    async def release(self, grant: str, claim: Claim) -> Claimed:
        """Give a grant back that was surely not used."""
        failpoints.reach("release:before")
        _, _, body = await self._call("POST", f"/grants/{grant}/release", encode(claim))
        failpoints.reach("release:after")
        return self._read(body, Claimed)

    async def withdraw(self, review: str, claim: Claim) -> Submitted:
        """The agent no longer wants it."""
        failpoints.reach("withdraw:before")
        _, _, body = await self._call("POST", f"/reviews/{review}/withdraw", encode(claim))
        failpoints.reach("withdraw:after")
        return self._read(body, Submitted)

    async def events(self, lines: bytes) -> Acknowledged:
        """Ship audit lines, each with its line end."""
        failpoints.reach("ship:before")
        _, _, body = await self._call("POST", "/events", lines, kind="application/x-ndjson", limit=60.0)
        failpoints.reach("ship:after")
        return self._read(body, Acknowledged)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
        limit: float = 0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None, "use the client as a context manager"
        sent = {**(headers or {}), **({"Content-Type": kind} if body is not None else {})}
        limit = limit or CALL_LIMIT
        timeout = aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_LIMIT)
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=sent, timeout=timeout, allow_redirects=False
            ) as reply:
                content = await reply.read()
                self._compare_clocks(reply.headers.get("Date", ""))
                status = reply.status
        except TimeoutError:
            self.reachable = False
            raise UnavailableError(f"the control plane gave no answer within {limit:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            self.reachable = False
            raise UnavailableError(f"the control plane cannot be reached: {type(error).__name__}") from None
        self.reachable = status < 500
        if status in (200, 201, 202, 304):
            return status, reply.headers, content
        raise _failure(status, content, VERSION)

    def _compare_clocks(self, date: str) -> None:
        try:
            theirs = email.utils.parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        self.skew = theirs + 0.5 - time.time()

    def _read[T: msgspec.Struct](self, body: bytes, kind: type[T]) -> T:
        try:
            return decode(body, kind)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise UnavailableError(f"the control plane's answer is no {kind.__name__}: {error}") from None


def _failure(status: int, content: bytes, version: int) -> ControlPlaneError:
    try:
        problem = decode(content, Problem)
    except msgspec.DecodeError:
        problem = Problem("about:blank", f"the control plane answered {status} (contract version {version})", status)
    if status >= 500 or status in (408, 425):
        return UnavailableError(f"the control plane failed: {problem.title}")
    if 300 <= status < 400:
        return UnavailableError("the control plane redirects, which is not followed: correct control_plane.url")
    return RefusedError(problem)


class Backoff:
    """Growing pauses with jitter, so that many edges do not come back at once."""

    def __init__(self, longest: float = _LONGEST_PAUSE) -> None:
        self._longest = longest
        self._next = _FIRST_PAUSE

    def reset(self) -> None:
        self._next = _FIRST_PAUSE

    def pause(self) -> float:
        """Seconds to wait now."""
        pause, self._next = self._next, min(self._longest, self._next * 2)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


async def insist[T](call: Callable[[], Awaitable[T]], limit: float = INSIST_LIMIT) -> T:
    """Repeat `call` while the control plane is unavailable, for at most `limit` seconds; then raise the last `UnavailableError`."""
    backoff = Backoff(longest=2.0)
    until = time.monotonic() + limit
    while True:
        try:
            return await call()
        except UnavailableError:
            pause = backoff.pause()
            if time.monotonic() + pause >= until:
                raise
            await asyncio.sleep(pause)
