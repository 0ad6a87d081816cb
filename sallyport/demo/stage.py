"""What both acts stand on: steps that are told and checked, and the person who decides."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from sallyport.demo.shop import APPROVER
from sallyport.output import visible
from sallyport.stack import Stack

WAIT_LIMIT = 30.0  # seconds for any single thing the demo waits for


class DemoFailedError(Exception):
    """Something did not happen as it should. The text says what."""


class Stage:
    """Where the acts are played: what was told so far is in `steps`."""

    def __init__(self, sallyport: Stack, screen: Console) -> None:
        self.sallyport = sallyport
        self.screen = screen
        self.steps: list[dict[str, Any]] = []

    # -- the approver --------------------------------------------------------------------------------------------------

    def open_review(self) -> str:
        """The review that waits, once it does."""
        person = self.sallyport.person(APPROVER)
        found = self.eventually(lambda: person.get("/v1/reviews", state="open")["reviews"], "a review is open")
        return found[0]["id"]

    def shown(self, review: str) -> dict[str, Any]:
        """What the person sees of it."""
        return self.sallyport.person(APPROVER).get(f"/v1/reviews/{review}")

    def decide(self, review: str, choice: str, reason: str) -> None:
        """The person decides."""
        body = {"id": f"{review}-{choice}", "choice": choice, "reason": reason}
        self.sallyport.person(APPROVER).post(f"/v1/reviews/{review}/decisions", body)

    # -- telling -------------------------------------------------------------------------------------------------------

    def check(self, holds: bool, what: str) -> None:
        """The demo fails if it does not hold."""
        if not holds:
            raise DemoFailedError(f"does not hold: {what}")

    def eventually[T](self, ask: Callable[[], T | None], what: str) -> T:
        """Ask until the answer is true, for a limited time."""
        pause, deadline = threading.Event(), time.monotonic() + WAIT_LIMIT
        while not (answer := ask()):
            self.check(time.monotonic() < deadline, f"{what} within {WAIT_LIMIT:.0f} s")
            pause.wait(0.05)
        return answer

    @contextlib.contextmanager
    def in_background(self, act: Callable[[], str], what: str) -> Generator[list[str]]:
        """Do something that will be held; on leaving, wait for what the agent saw."""
        answer: list[str] = []
        sender = threading.Thread(target=lambda: answer.append(act()), daemon=True)
        sender.start()
        yield answer
        sender.join(WAIT_LIMIT)
        self.check(not sender.is_alive(), f"{what} is answered within {WAIT_LIMIT:.0f} s")

    def tell(self, word: str, command: str, saw: str, upstream: str = "", ran: Sequence[str] = ()) -> None:
        """One step: what the agent sent and saw, and what that upstream says that it ran."""
        journal = {f"{upstream.lower()}_ran": list(ran)} if upstream else {}
        self.steps.append({"step": word, "command": command, "agent_saw": saw, **journal})
        self.show(Text(f"\n{word:<10} {visible(command)}", style="bold"))
        self.show(f"  agent saw   {saw}")
        if upstream:
            self.show(f"  {upstream:<10}  {'; '.join(ran) or 'ran nothing of it'}")

    def show(self, part: Any) -> None:
        """A line of text as it is, or something that rich can print."""
        self.screen.print(Text(visible(part)) if isinstance(part, str) else part)
