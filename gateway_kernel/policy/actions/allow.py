"""`then: allow`: the operation may run, unless another rule denies it or sends it to a person."""

from collections.abc import Iterator

from gateway_kernel.policy.actions.action import Groups, Objection
from gateway_kernel.policy.obligations import Draft, Statement


class Allow:
    """Takes no settings."""

    name = "allow"
    settings = None

    def check(self, settings: None, groups: Groups) -> Iterator[Objection]:
        yield from ()

    def apply(self, rule: Statement, settings: None, draft: Draft) -> None:
        draft.allows.append(rule)


ACTION = Allow()
