"""The first act: PostgreSQL, asserted against its own log."""

from collections.abc import Callable
from typing import Any, LiteralString, cast

import psycopg

from sallyport.demo.shop import AGENT, DATABASE, Shop
from sallyport.demo.stage import DemoFailedError, Stage

UPSTREAM = "PostgreSQL"


class DatabaseAct:
    """One agent's session at the database."""

    def __init__(self, stage: Stage, shop: Shop) -> None:
        self.stage = stage
        self.shop = shop
        self.mark = 0
        host, _, port = shop.listeners["postgres"].rpartition(":")
        key = (shop.stack.keys / f"agent-{AGENT}").read_text().strip()
        self.dsn = f"host={host} port={port} user={AGENT} dbname={DATABASE} password={key}"
        self.notices: list[str] = []

    def play(self) -> None:
        """All of its steps."""
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as agent:
            agent.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
            self.allowed(agent)
            self.masked(agent)
            self.blocked(agent)
            self.rewritten(agent)
            self.approved(agent)
            self.denied(agent)

    def secrets(self) -> list[str]:
        """What no recording may hold."""
        return [secret for row in self.direct("SELECT email, ssn FROM customers") for secret in row]

    # -- the steps -----------------------------------------------------------------------------------------------------

    def allowed(self, agent: psycopg.Connection[Any]) -> None:
        query = "SELECT id, name FROM customers WHERE id < 3 ORDER BY id"
        saw, ran = self.ran_during(lambda: self.rows(agent, query))
        self.stage.check(saw == [(1, "Ada Marsh"), (2, "Bo Lindqvist")], f"the agent saw {saw}")
        self.stage.check(any("FROM customers" in text for text in ran), "PostgreSQL ran it")
        self.tell("ALLOWED", query, f"rows {saw}", ran)

    def masked(self, agent: psycopg.Connection[Any]) -> None:
        query = "SELECT name, email, ssn FROM customers ORDER BY id"
        saw, ran = self.ran_during(lambda: self.rows(agent, query))
        shown = repr(saw)
        self.stage.check(len(saw) == 3 and not any(secret in shown for secret in self.secrets()), "no secret was shown")
        self.stage.check(any("email" in text for text in ran), "PostgreSQL returned the real values")
        self.tell("MASKED", query, f"first row {saw[0]}", ran)

    def blocked(self, agent: psycopg.Connection[Any]) -> None:
        for query, rule in (
            ("DROP TABLE orders", "no-ddl-in-prod"),
            ("SELECT name FROM customers WHERE email LIKE 'a%'", "hide-pii"),
        ):
            saw, ran = self.ran_during(lambda query=query: self.refused(agent, query))
            self.stage.check(rule in saw, f"the refusal names {rule}: {saw}")
            self.stage.check(
                not any("DROP" in text or "LIKE" in text for text in ran), "nothing of it reached PostgreSQL"
            )
            self.tell("BLOCKED", query, saw, ran)

    def rewritten(self, agent: psycopg.Connection[Any]) -> None:
        query = "SELECT id, page FROM visits"
        saw, ran = self.ran_during(lambda: self.rows(agent, query))
        self.stage.check(len(saw) == 1000, f"1000 of 5000 rows, not {len(saw)}")
        self.stage.check(
            any("visits" in text and "LIMIT 1000" in text.upper() for text in ran),
            f"PostgreSQL ran the limited form: {ran}",
        )
        self.tell("REWRITTEN", query, f"{len(saw)} rows of 5000", ran)

    def approved(self, agent: psycopg.Connection[Any]) -> None:
        """The agent waits while a person looks at the exact command; then exactly that runs, once."""
        query, order, stage = "DELETE FROM orders WHERE id = %s", 7, self.stage
        self.mark = len(self.journal_so_far())
        with stage.in_background(lambda: self.said(agent, query, order), query) as answer:
            review = stage.open_review()
            waiting = self.journal()
            stage.check(not any("DELETE" in text for text in waiting), "nothing ran while people were asked")
            shown = stage.shown(review)["text"]
            stage.check("DELETE FROM orders" in shown, f"the approver saw {shown!r}")
            self.tell("WAITING", f"{query} with {order}", f"review {review}; {' '.join(self.notices[-1:])}", waiting)
            stage.decide(review, "approve", "order was cancelled by phone")
        ran = self.journal()
        stage.check(answer == ["DELETE 1"], f"the agent got {answer}")
        stage.check(sum("DELETE FROM orders" in text for text in ran) == 1, f"it ran once: {ran}")
        stage.check(self.direct("SELECT id FROM orders ORDER BY id") == [(8,), (9,)], "order 7 is gone and no other")
        self.tell("APPROVED", f"{query} with {order}", answer[0], ran)

    def denied(self, agent: psycopg.Connection[Any]) -> None:
        query, order, stage = "DELETE FROM orders WHERE id >= %s", 0, self.stage
        self.mark = len(self.journal_so_far())
        with stage.in_background(lambda: self.said(agent, query, order), query) as answer:
            stage.decide(stage.open_review(), "deny", "that is all of them")
        ran = self.journal()
        stage.check("that is all of them" in answer[0], f"the agent is told why: {answer}")
        stage.check(not any("id >=" in text for text in ran), "nothing of it reached PostgreSQL")
        stage.check(len(self.direct("SELECT id FROM orders")) == 2, "no order is gone")
        self.tell("DENIED", f"{query} with {order}", answer[0], ran)

    # -- the agent -----------------------------------------------------------------------------------------------------

    def rows(self, agent: psycopg.Connection[Any], query: str) -> list[Any]:
        return agent.execute(cast("LiteralString", query)).fetchall()

    def refused(self, agent: psycopg.Connection[Any], query: str) -> str:
        """The error that the agent gets instead of a result."""
        try:
            agent.execute(cast("LiteralString", query))
        except psycopg.Error as error:
            return said(error)
        raise DemoFailedError(f"{query} was not refused")

    def said(self, agent: psycopg.Connection[Any], query: str, parameter: int) -> str:
        """The command tag, or the error."""
        try:
            return agent.execute(cast("LiteralString", query), (parameter,)).statusmessage or ""
        except psycopg.Error as error:
            return said(error)

    # -- PostgreSQL's own word -----------------------------------------------------------------------------------------

    def direct(self, query: str) -> list[tuple[Any, ...]]:
        return self.shop.postgres.run(query, self.shop.database)

    def journal_so_far(self) -> list[str]:
        """What PostgreSQL executed for anybody who came through the edge."""
        entries = self.shop.postgres.journal(self.shop.database)
        return [ran.text for ran in entries if ran.role == "app_role" and ran.kind != "error"]

    def journal(self) -> list[str]:
        """What it executed since the last mark."""
        return self.journal_so_far()[self.mark :]

    def ran_during[T](self, act: Callable[[], T]) -> tuple[T, list[str]]:
        """What `act` returns, and what PostgreSQL executed meanwhile."""
        self.mark = len(self.journal_so_far())
        result = act()
        return result, self.journal()

    def tell(self, word: str, command: str, saw: str, ran: list[str]) -> None:
        self.stage.tell(word, command, saw, UPSTREAM, [text for text in ran if "pg_catalog" not in text])


def said(error: psycopg.Error) -> str:
    """What an agent reads in an error."""
    told = error.diag
    return " | ".join(filter(None, (error.sqlstate, told.message_primary, told.message_detail))) or str(error)
