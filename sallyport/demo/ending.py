"""The end of both acts: their recordings come back from the control plane as one timeline, and prove themselves."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from gateway_kernel.audit import read, verify
from gateway_kernel.errors import TamperedError
from sallyport.demo.shop import AGENT
from sallyport.demo.stage import DemoFailedError, Stage
from sallyport.timeline import Step, timeline

SESSIONS = 2
ROWS_REPLAYED = 3  # of each result
LONGEST_PART = 330  # characters of one text, so that a body does not fill the screen


class Ending:
    """What is left of the acts. `secrets` must be in no recording."""

    def __init__(self, stage: Stage, secrets: Sequence[str]) -> None:
        self.stage = stage
        self.secrets = [secret.encode() for secret in secrets]

    def play(self) -> None:
        """Replay, then verify."""
        recordings = self.replayed()
        self.verified(recordings)

    def replayed(self) -> list[list[bytes]]:
        """Every step of both sessions, in the order in which they happened, with no secret in them."""
        stage, admin = self.stage, self.stage.sallyport.admin()

        def ended() -> list[str] | None:
            found = [each["id"] for each in admin.get("/v1/sessions", agent=AGENT)["sessions"] if each["ended"]]
            return sorted(found) if len(found) == SESSIONS else None

        sessions = stage.eventually(ended, "both closed sessions arrive at the control plane")
        recordings = [list(admin.lines(f"/v1/sessions/{session}/events")) for session in sessions]
        lines = list(chain.from_iterable(recordings))
        stage.check(not any(secret in line for line in lines for secret in self.secrets), "no secret is recorded")
        steps = [
            step
            for recording in recordings
            for step in timeline(map(read, recording))
            if step.operation is not None and not step.prepared
        ]
        steps.sort(key=lambda step: step.at)
        outcomes = [step.outcome for step in steps if _deletes(step)]
        # The HTTP request is told twice: when it was held, and when it came back and used the grant.
        stage.check(
            outcomes == ["completed", "not_sent", "not_sent", "completed"],
            f"all deletes are told truthfully: {outcomes}",
        )
        what = f"sallyport sessions replay {' and '.join(sessions)}"
        stage.tell("REPLAYED", what, f"{len(steps)} operations, {len(lines)} events")
        for part in (part for step in steps for part in step.rendered(ROWS_REPLAYED)):
            stage.show(_short(part))
        return recordings

    def verified(self, recordings: list[list[bytes]]) -> None:
        """Each chain verifies; with one byte changed it does not, and the event is named."""
        for lines in recordings:
            session = read(lines[0]).session
            verify(session, lines)
            middle = len(lines) // 2
            altered = [*lines[:middle], lines[middle].replace(b'"at":1', b'"at":2', 1), *lines[middle + 1 :]]
            self.stage.check(altered != lines, "a byte was changed")
            try:
                verify(session, altered)
            except TamperedError as error:
                seen = f"{len(lines)} events verify; with one byte changed: {error}"
                self.stage.tell("VERIFIED", f"sallyport evidence verify {session}", seen)
            else:
                raise DemoFailedError("a changed byte was not noticed")


def _deletes(step: Step) -> bool:
    return step.operation is not None and step.operation.text.startswith("DELETE")


def _short(part: Any) -> Any:
    return f"{part[:LONGEST_PART]} …" if isinstance(part, str) and len(part) > LONGEST_PART else part
