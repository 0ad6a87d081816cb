"""`sallyport demo`: the main job on real traffic, in under a minute, every step asserted against PostgreSQL's own log.

A scripted agent talks through the edge with an ordinary driver; a scripted approver decides. After each step the database's own
journal says what really ran: the demo believes that, not us, and ends 1 if anything differs.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Annotated, Any, LiteralString, cast

import psycopg
import typer
from rich.console import Console
from rich.text import Text

from gateway_kernel.audit import read, verify
from gateway_kernel.errors import TamperedError
from sallyport.local_postgres import Postgres, running_postgres
from sallyport.output import REFUSED, JsonFlag, console, emit, fail, visible
from sallyport.stack import Stack
from sallyport.timeline import timeline

NAME = "demo"
EXAMPLES = Path(__file__).parents[1] / "examples" / "demo"
APPROVER, AGENT, RESOURCE = "dana@example.com", "ci-bot", "shop"
LABELS = {"env": "prod", "data": "pii"}
CAPTURED = 110  # columns of the drawing
ROWS_REPLAYED = 3  # of each result
WAIT_LIMIT = 30.0  # seconds for any single thing the demo waits for


class DemoFailedError(Exception):
    """Something did not happen as it should. The text says what."""


def run(
    keep: Annotated[Path | None, typer.Option(help="Keep recordings and logs in this directory.")] = None,
    capture: Annotated[Path | None, typer.Option(help="Draw what is printed as an SVG in this file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show allow, mask, block, rewrite, wait, approve, deny, replay and verify on a real PostgreSQL."""
    with contextlib.ExitStack() as stack:
        home = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sallyport-demo-")))
        postgres = stack.enter_context(running_postgres())
        with shop(home, postgres) as (sallyport, database, address):
            quiet = stack.enter_context(Path(os.devnull).open("w")) if as_json else None
            drawn = Console(record=True, width=CAPTURED, highlight=False, file=quiet)
            screen = drawn if capture or as_json else console
            demo = Demo(sallyport, postgres, database, address, screen)
            try:
                demo.play()
            except DemoFailedError as error:
                raise fail(f"the demo failed: {error}", REFUSED) from None
            if capture:
                screen.save_svg(str(capture), title="sallyport demo")
            emit({"steps": demo.steps}, as_json=as_json, text=["", f"All {len(demo.steps)} steps hold."])


@contextlib.contextmanager
def shop(
    home: Path, postgres: Postgres, *, control_port: int = 0, listen: str = "127.0.0.1:0"
) -> Generator[tuple[Stack, str, str]]:
    """The demo's shop behind a stack on this machine; yields the stack, the database's name and the edge's PostgreSQL address."""
    database = postgres.create_database((EXAMPLES / "schema.sql").read_text())
    config = home / "edge.yaml"
    mode = f"verify-full&sslrootcert={postgres.certificate}" if postgres.tls else "disable"
    with Stack(home, control_port=control_port) as sallyport:
        url = sallyport.start_control_plane()
        sallyport.push_policy((EXAMPLES / "policy.yaml").read_text(), "the demo's policy")
        sallyport.add_agent(AGENT, owners=["dev.lead@example.com"])
        sallyport.add_person(APPROVER)
        sallyport.register_edge([{"name": RESOURCE, "protocol": "postgres", "labels": LABELS}])
        config.write_text(
            f"control_plane: {{url: {url}}}\n"
            f"data_dir: {home}/edge\n"
            f"listeners: {{postgres: {listen}}}\n"
            f"resources:\n"
            f"- name: {RESOURCE}\n"
            f"  protocol: postgres\n"
            f"  upstream: postgresql://app_role@{postgres.host}:{postgres.port}/{database}?sslmode={mode}\n"
            f"  credential: env://SHOP_PASSWORD\n"
            f"  labels: {{env: prod, data: pii}}\n"
        )
        postgres.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO app_role", database)
        bound = sallyport.start_edge(config, SHOP_PASSWORD=postgres.password)
        yield sallyport, database, bound["postgres"]


class Demo:
    """The nine steps."""

    def __init__(self, sallyport: Stack, postgres: Postgres, database: str, address: str, screen: Console) -> None:
        self.sallyport = sallyport
        self.postgres = postgres
        self.database = database
        self.screen = screen
        self.mark = 0
        self.steps: list[dict[str, Any]] = []
        host, _, port = address.rpartition(":")
        key = (sallyport.keys / f"agent-{AGENT}").read_text().strip()
        self.dsn = f"host={host} port={port} user={AGENT} dbname={RESOURCE} password={key}"
        self.notices: list[str] = []

    def play(self) -> None:
        """Run all steps in one agent session."""
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as agent:
            agent.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
            self.allowed(agent)
            self.masked(agent)
            self.blocked(agent)
            self.rewritten(agent)
            self.approved(agent)
            self.denied(agent)
        self.verified(self.replayed())

    # -- the steps -----------------------------------------------------------------------------------------------------

    def allowed(self, agent: psycopg.Connection[Any]) -> None:
        query = "SELECT id, name FROM customers WHERE id < 3 ORDER BY id"
        saw, ran = self.ran_during(lambda: self.rows(agent, query))
        self.check(saw == [(1, "Ada Marsh"), (2, "Bo Lindqvist")], f"the agent saw {saw}")
        self.check(any("FROM customers" in text for text in ran), "PostgreSQL ran it")
        self.tell("ALLOWED", query, f"rows {saw}", ran)

    def masked(self, agent: psycopg.Connection[Any]) -> None:
        query = "SELECT name, email, ssn FROM customers ORDER BY id"
        saw, ran = self.ran_during(lambda: self.rows(agent, query))
        real = self.direct("SELECT email, ssn FROM customers")
        shown = repr(saw)
        self.check(len(saw) == 3 and not any(secret in shown for row in real for secret in row), "no secret was shown")
        self.check(any("email" in text for text in ran), "PostgreSQL returned the real values")
        self.tell("MASKED", query, f"first row {saw[0]}", ran)

    def blocked(self, agent: psycopg.Connection[Any]) -> None:
        for query, rule in (
            ("DROP TABLE orders", "no-ddl-in-prod"),
            ("SELECT name FROM customers WHERE email LIKE 'a%'", "hide-pii"),
        ):
            saw, ran = self.ran_during(lambda query=query: self.refused(agent, query))
            self.check(rule in saw, f"the refusal names {rule}: {saw}")
            self.check(not any("DROP" in text or "LIKE" in text for text in ran), "nothing of it reached PostgreSQL")
            self.tell("BLOCKED", query, saw, ran)

    def rewritten(self, agent: psycopg.Connection[Any]) -> None:
        query = "SELECT id, page FROM visits"
        saw, ran = self.ran_during(lambda: self.rows(agent, query))
        self.check(len(saw) == 1000, f"1000 of 5000 rows, not {len(saw)}")
        self.check(
            any("visits" in text and "LIMIT 1000" in text.upper() for text in ran),
            f"PostgreSQL ran the limited form: {ran}",
        )
        self.tell("REWRITTEN", query, f"{len(saw)} rows of 5000", ran)

    def approved(self, agent: psycopg.Connection[Any]) -> None:
        """The agent waits while a person looks at the exact command; then exactly that runs, once."""
        query, order = "DELETE FROM orders WHERE id = %s", 7
        with self.in_background(agent, query, order) as answer:
            review = self.open_review()
            waiting = self.journal()
            self.check(not any("DELETE" in text for text in waiting), "nothing ran while people were asked")
            shown = self.sallyport.person(APPROVER).get(f"/v1/reviews/{review}")
            self.check("DELETE FROM orders" in shown["text"], f"the approver saw {shown['text']!r}")
            self.tell("WAITING", f"{query} with {order}", f"review {review}; {' '.join(self.notices[-1:])}", waiting)
            self.decide(review, "approve", "order was cancelled by phone")
        ran = self.journal()
        self.check(answer == ["DELETE 1"], f"the agent got {answer}")
        self.check(sum("DELETE FROM orders" in text for text in ran) == 1, f"it ran once: {ran}")
        self.check(self.direct("SELECT id FROM orders ORDER BY id") == [(8,), (9,)], "order 7 is gone and no other")
        self.tell("APPROVED", f"{query} with {order}", answer[0], ran)

    def denied(self, agent: psycopg.Connection[Any]) -> None:
        query, order = "DELETE FROM orders WHERE id >= %s", 0
        with self.in_background(agent, query, order) as answer:
            self.decide(self.open_review(), "deny", "that is all of them")
        ran = self.journal()
        self.check("that is all of them" in answer[0], f"the agent is told why: {answer}")
        self.check(not any("id >=" in text for text in ran), "nothing of it reached PostgreSQL")
        self.check(len(self.direct("SELECT id FROM orders")) == 2, "no order is gone")
        self.tell("DENIED", f"{query} with {order}", answer[0], ran)

    def replayed(self) -> list[bytes]:
        """The recording comes back from the control plane, with every step and no secret in it."""
        admin = self.sallyport.admin()
        session = self.eventually(
            lambda: next((s for s in admin.get("/v1/sessions", agent=AGENT)["sessions"] if s["ended"]), None),
            "the closed session arrives at the control plane",
        )
        lines = list(admin.lines(f"/v1/sessions/{session['id']}/events"))
        secrets = [secret for row in self.direct("SELECT email, ssn FROM customers") for secret in row]
        self.check(not any(secret.encode() in line for line in lines for secret in secrets), "no secret is recorded")
        steps = [step for step in timeline(map(read, lines)) if step.operation is not None and not step.prepared]
        outcomes = [step.outcome for step in steps if step.operation is not None and step.operation.verb == "DELETE"]
        self.check(outcomes == ["completed", "not_sent"], f"both deletes are told truthfully: {outcomes}")
        self.tell(
            "REPLAYED", f"sallyport sessions replay {session['id']}", f"{len(steps)} operations, {len(lines)} events"
        )
        for part in (part for step in steps for part in step.rendered(ROWS_REPLAYED)):
            self.show(part)
        return lines

    def verified(self, lines: list[bytes]) -> None:
        """The chain verifies; with one byte changed it does not, and the event is named."""
        session = read(lines[0]).session
        verify(session, lines)
        middle = len(lines) // 2
        altered = [*lines[:middle], lines[middle].replace(b'"at":1', b'"at":2', 1), *lines[middle + 1 :]]
        self.check(altered != lines, "a byte was changed")
        try:
            verify(session, altered)
        except TamperedError as error:
            seen = f"{len(lines)} events verify; with one byte changed: {error}"
            self.tell("VERIFIED", "sallyport evidence verify", seen)
        else:
            raise DemoFailedError("a changed byte was not noticed")

    # -- the agent ---------------------------------------------------------------------------------------------------

    def rows(self, agent: psycopg.Connection[Any], query: str) -> list[Any]:
        return agent.execute(cast("LiteralString", query)).fetchall()

    def refused(self, agent: psycopg.Connection[Any], query: str) -> str:
        """The error that the agent gets instead of a result."""
        try:
            agent.execute(cast("LiteralString", query))
        except psycopg.Error as error:
            return said(error)
        raise DemoFailedError(f"{query} was not refused")

    @contextlib.contextmanager
    def in_background(self, agent: psycopg.Connection[Any], query: str, parameter: int) -> Generator[list[str]]:
        """Send a command that will be held; on leaving, wait for its answer: a command tag or an error."""
        answer: list[str] = []

        def send() -> None:
            try:
                answer.append(agent.execute(cast("LiteralString", query), (parameter,)).statusmessage or "")
            except psycopg.Error as error:
                answer.append(said(error))

        self.mark = len(self.journal_so_far())
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        yield answer
        sender.join(WAIT_LIMIT)
        self.check(not sender.is_alive(), f"{query} is answered within {WAIT_LIMIT:.0f} s")

    # -- the approver --------------------------------------------------------------------------------------------------

    def open_review(self) -> str:
        person = self.sallyport.person(APPROVER)
        found = self.eventually(lambda: person.get("/v1/reviews", state="open")["reviews"], "a review is open")
        return found[0]["id"]

    def decide(self, review: str, choice: str, reason: str) -> None:
        body = {"id": f"{review}-{choice}", "choice": choice, "reason": reason}
        self.sallyport.person(APPROVER).post(f"/v1/reviews/{review}/decisions", body)

    # -- PostgreSQL's own word -----------------------------------------------------------------------------------------

    def direct(self, query: str) -> list[tuple[Any, ...]]:
        return self.postgres.run(query, self.database)

    def journal_so_far(self) -> list[str]:
        """What PostgreSQL executed for anybody who came through the edge."""
        return [
            ran.text for ran in self.postgres.journal(self.database) if ran.role == "app_role" and ran.kind != "error"
        ]

    def journal(self) -> list[str]:
        """What it executed since the last mark."""
        return self.journal_so_far()[self.mark :]

    def ran_during[T](self, act: Callable[[], T]) -> tuple[T, list[str]]:
        """What `act` returns, and what PostgreSQL executed meanwhile."""
        self.mark = len(self.journal_so_far())
        result = act()
        return result, self.journal()

    # -- telling -------------------------------------------------------------------------------------------------------

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            raise DemoFailedError(f"does not hold: {what}")

    def eventually[T](self, ask: Callable[[], T | None], what: str) -> T:
        """Ask until the answer is true, for a limited time."""
        pause, deadline = threading.Event(), time.monotonic() + WAIT_LIMIT
        while not (answer := ask()):
            self.check(time.monotonic() < deadline, f"{what} within {WAIT_LIMIT:.0f} s")
            pause.wait(0.05)
        return answer

    def tell(self, word: str, command: str, saw: str, ran: Sequence[str] = ()) -> None:
        upstream = [text for text in ran if "pg_catalog" not in text]
        self.steps.append({"step": word, "command": command, "agent_saw": saw, "postgresql_ran": upstream})
        self.show(Text(f"\n{word:<10} {visible(command)}", style="bold"))
        self.show(f"  agent saw   {saw}")
        if ran or word in {"BLOCKED", "WAITING", "DENIED"}:
            self.show(f"  PostgreSQL  {'; '.join(upstream) or 'ran nothing of it'}")

    def show(self, part: Any) -> None:
        self.screen.print(Text(visible(part)) if isinstance(part, str) else part)


def said(error: psycopg.Error) -> str:
    """What an agent reads in an error."""
    told = error.diag
    return " | ".join(filter(None, (error.sqlstate, told.message_primary, told.message_detail))) or str(error)
