"""`then: deny`: the operation does not run, whatever any other rule says. Its `reason` is told to the agent."""

from collections.abc import Iterator

from gateway_kernel.policy.actions.action import Groups, Objection
from gateway_kernel.policy.obligations import Draft, Statement


class Deny:
    """Takes no settings."""

    name = "deny"
    settings = None

    def check(self, settings: None, groups: Groups) -> Iterator[Objection]:
        yield from ()

    def apply(self, rule: Statement, settings: None, draft: Draft) -> None:
        draft.denials.append(rule)


ACTION = Deny()
