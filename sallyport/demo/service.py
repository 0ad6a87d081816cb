"""The second act: an HTTP service, asserted against its own journal of the bytes that arrived."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from sallyport.demo.shop import AGENT, SERVICE, Shop
from sallyport.demo.stage import WAIT_LIMIT, Stage

UPSTREAM = "service"
EVE: dict[str, Any] = {
    "customers": {"id": 4, "name": "Eve Olsen", "email": "eve.olsen@example.com", "card": "4012 8888 8888 1881"}
}
"""Somebody of whom the event stream tells."""
SHOWN = 200  # characters of an answer


class ServiceAct:
    """One agent's connection to the service."""

    def __init__(self, stage: Stage, shop: Shop) -> None:
        self.stage = stage
        self.service = shop.service
        self.key = (shop.stack.keys / f"agent-{AGENT}").read_text().strip()
        self.url = f"http://{shop.listeners['http']}/{SERVICE}"

    def play(self) -> None:
        """All of its steps."""
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_LIMIT) as agent:
            for name in ("Accept", "Accept-Encoding", "User-Agent"):
                del agent.headers[name]  # so that what is replayed fits on a screen
            self.allowed(agent)
            self.masked(agent)
            self.streamed(agent)
            self.blocked(agent)
            self.rewritten(agent)
            self.approved(agent)

    def secrets(self) -> list[str]:
        """What no recording may hold."""
        people = [*self.service.billing.collections["customers"], EVE["customers"]]
        hidden = [str(person[name]) for person in people for name in ("email", "ssn", "card") if name in person]
        return [*hidden, self.service.secret, self.key]

    # -- the steps -----------------------------------------------------------------------------------------------------

    def allowed(self, agent: httpx.Client) -> None:
        saw, ran = self.ran_during(lambda: agent.get("/orders/8"))
        self.stage.check(saw.json()["total"] == 59.0, f"the agent saw {saw.text}")
        self.stage.check(ran == ["GET /orders/8"], f"the service received it: {ran}")
        self.tell("ALLOWED", "GET /orders/8", saw, ran)

    def masked(self, agent: httpx.Client) -> None:
        saw, ran = self.ran_during(lambda: agent.get("/customers"))
        self.hidden(saw.text)
        self.stage.check(
            [row["name"] for row in saw.json()["customers"]][:1] == ["Ada Marsh"], f"names stay: {saw.text}"
        )
        self.stage.check(ran == ["GET /customers"], f"the service returned the real values: {ran}")
        self.tell("MASKED", "GET /customers", saw, ran)

    def streamed(self, agent: httpx.Client) -> None:
        """An event comes masked while the stream is still open."""
        target, feed = "/events?follow=1", self.service.billing.feed
        self.mark()
        with agent.stream("GET", target) as stream:
            lines = stream.iter_lines()
            self.stage.eventually(lambda: feed.followers, "the service has a follower")
            self.service.billing.publish(EVE)
            event = next(line for line in lines if line.startswith("data:"))
            self.stage.check(feed.followers == 1, "the stream is open while the agent reads the event")
            self.service.billing.end_events()
            rest = list(lines)
        self.hidden("\n".join((event, *rest)))
        self.stage.check("Eve Olsen" in event, f"the rest of the event stays: {event}")
        self.stage.tell("MASKED", f"GET {target}", event, UPSTREAM, self.journal())

    def blocked(self, agent: httpx.Client) -> None:
        for target, rule in (
            ("/export", "no-exports"),
            ("/orders/../%65xport", "no-exports"),
            ("/customers?email=ada@example.com", "hide-pii"),
        ):
            request = agent.build_request("GET", f"{self.url}/")
            request.extensions["target"] = f"/{SERVICE}{target}".encode()  # exactly so: httpx would tidy it up
            saw, ran = self.ran_during(lambda request=request: agent.send(request))
            self.stage.check(saw.status_code == 403 and rule in saw.text, f"the refusal names {rule}: {saw.text}")
            self.stage.check(not ran, f"nothing of it reached the service: {ran}")
            self.tell("BLOCKED", f"GET {target}", saw, ran)

    def rewritten(self, agent: httpx.Client) -> None:
        target = "/visits?limit=5000"
        saw, ran = self.ran_during(lambda: agent.get(target))
        rows = len(saw.json()["visits"])
        self.stage.check(rows == 1000, f"1000 of 5000 visits, not {rows}")
        self.stage.check(ran == ["GET /visits?limit=1000"], f"the service received the smaller limit: {ran}")
        self.stage.tell("REWRITTEN", f"GET {target}", f"{rows} visits of 5000", UPSTREAM, ran)

    def approved(self, agent: httpx.Client) -> None:
        """The agent is told to come back; once a person has approved, the same request goes through, once."""
        target, stage = "/orders/8", self.stage
        saw, ran = self.ran_during(lambda: agent.delete(target))
        told = saw.json()
        stage.check(saw.status_code == 503 and int(saw.headers["retry-after"]) > 0, f"come back later: {saw.text}")
        stage.check(not ran, f"nothing of it reached the service: {ran}")
        review = stage.open_review()
        stage.check(told["review"] == review, f"the answer names the review: {told}")
        stage.check(stage.shown(review)["text"].startswith(f"DELETE {target}\n"), "the approver saw the exact request")
        wait = f"503, Retry-After: {saw.headers['retry-after']}, review {review}"
        stage.tell("WAITING", f"DELETE {target}", wait, UPSTREAM, ran)
        stage.decide(review, "approve", "a duplicate")
        saw, ran = self.ran_during(lambda: agent.delete(target))
        stage.check(saw.status_code == 204, f"the same request goes through: {saw.status_code} {saw.text}")
        stage.check(ran == [f"DELETE {target}"], f"it was sent once: {ran}")
        left = [row["id"] for row in self.service.billing.collections["orders"]]
        stage.check(left == [7, 9], f"order 8 is gone and no other: {left}")
        self.tell("APPROVED", f"DELETE {target}", saw, ran)

    # -- the service's own word ----------------------------------------------------------------------------------------

    def mark(self) -> None:
        """What happened before is not looked at."""
        self.service.clear_journal()

    def journal(self) -> list[str]:
        """What arrived since the last mark; each request with the service's credential, and without the agent's key."""
        entries = self.service.journal()
        for entry in entries:
            self.stage.check(
                entry.header("authorization") == f"Bearer {self.service.secret}", "the credential is the service's"
            )
            self.stage.check(self.key.encode() not in entry.raw, "the agent's key stays here")
        return [entry.line for entry in entries]

    def ran_during(self, act: Callable[[], httpx.Response]) -> tuple[httpx.Response, list[str]]:
        """What `act` returns, and what the service received meanwhile."""
        self.mark()
        result = act()
        return result, self.journal()

    def hidden(self, text: str) -> None:
        """No secret is in it."""
        shown = [secret for secret in self.secrets() if secret in text]
        self.stage.check(not shown, f"no secret was shown: {text}")

    def tell(self, word: str, command: str, saw: httpx.Response, ran: list[str]) -> None:
        self.stage.tell(word, command, f"{saw.status_code} {_short(saw)}".rstrip(), UPSTREAM, ran)


def _short(saw: httpx.Response) -> str:
    """The body, as far as it tells something."""
    if saw.headers.get("content-type", "").startswith("application/problem+json"):
        problem = json.loads(saw.text)
        return " | ".join(filter(None, (problem.get("title"), problem.get("detail"))))
    return saw.text if len(saw.text) <= SHOWN else f"{saw.text[:SHOWN]}…"
