"""What the gate asks of whoever does the IO, and what it may be told in return.

`gate.admit` yields one of the commands; the driver carries it out and sends the answer back. Both sides are plain values.
"""

import msgspec

from gateway_kernel.audit import Body, Finished, Outcome
from gateway_kernel.grant import Grant, SignedGrant
from gateway_kernel.judge import Judgement
from gateway_kernel.model import Instant, Operation
from gateway_kernel.policy import Policy
from gateway_kernel.verdict import Verdict


class Record(msgspec.Struct, frozen=True):
    """Write these events to the recording, in order. With `seal`, answer only once they survive the machine. Answer: None."""

    events: tuple[Body, ...]
    seal: bool = False


class AwaitGrant(msgspec.Struct, frozen=True):
    """Ask people about `judgement.operation` and hold the agent. Answer: `Granted` or `NotGranted`."""

    judgement: Judgement
    digest: str


class Granted(msgspec.Struct, frozen=True):
    """People approved. `policy` and `now` are those of the moment of the answer, `key` verification happens in the gate."""

    signed: SignedGrant
    grant: Grant
    policy: Policy
    now: Instant


class NotGranted(msgspec.Struct, frozen=True):
    """There will be no grant for this waiter. `rule` is one of the gate's own rules below; `review` the id, if one was opened."""

    rule: str
    reason: str
    review: str = ""
    url: str = ""


class Consume(msgspec.Struct, frozen=True):
    """Use the grant at the control plane, atomically. Answer: `Consumed` or `NotGranted`."""

    grant: Grant
    operation: Operation


class Consumed(msgspec.Struct, frozen=True):
    """The grant is ours; nobody else can use it."""


class Forward(msgspec.Struct, frozen=True):
    """Send exactly this operation upstream under these obligations. Answer: `Result`.

    `max_rows` is the most rows a granted write may change: beyond it the engine rolls back.
    """

    judgement: Judgement
    max_rows: int | None = None


class Result(msgspec.Struct, frozen=True):
    """What became of a forwarded operation."""

    finished: Finished
    outcome: Outcome


class Refuse(msgspec.Struct, frozen=True):
    """Tell the agent no in its own protocol, after making sure that nothing of the operation takes effect. Answer: None.

    `held` marks a review that is still open: the same operation sent again joins it.
    """

    operation: Operation
    verdict: Verdict
    review: str = ""
    url: str = ""
    held: bool = False


type Command = Record | AwaitGrant | Consume | Forward | Refuse
type Answer = Granted | NotGranted | Consumed | Result | None

# The gate's own rules, as they appear in verdicts, refusals and docs/rules.md.
# `unreadable`, `unrewritable` and `masked-column` stand in judge.py.
GRANT_MISMATCH = "grant-mismatch"
"""The grant does not permit this operation."""
POLICY_CHANGED = "policy-changed"
"""After the approval the active policy denies, or asks for other approvers."""
REVIEW_DENIED = "review-denied"
REVIEW_EXPIRED = "review-expired"
REVIEW_WITHDRAWN = "review-withdrawn"
REVIEW_PENDING = "review-pending"
"""The hold ran out; the review stays open."""
REVIEW_UNAVAILABLE = "review-unavailable"
"""The control plane cannot be reached, so nobody can be asked."""
REVIEW_LIMIT = "review-limit"
"""The agent has too many open reviews."""
GRANT_USED = "grant-used"
"""Another waiter of the same review used the grant; its outcome is in the reason."""
VERDICT_MISMATCH = "verdict-mismatch"
"""The control plane judged the same operation otherwise; the stricter verdict holds and an alert is raised."""
