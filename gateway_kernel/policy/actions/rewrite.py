"""`then: rewrite`: another form of the operation is judged and runs, instead of the one that the agent sent."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from gateway_kernel.policy.actions.action import Groups, Objection
from gateway_kernel.policy.obligations import Draft, Statement
from gateway_kernel.verdict import Rewrite


class RewriteSettings(msgspec.Struct, frozen=True):
    """At least one of: a row `limit`, `read_only`, the text to run instead (`replace`), `parts` that the protocol knows."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    read_only: bool = False
    replace: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    parts: dict[str, str] = {}


class RewriteAction:
    """Adds a rewrite, whatever the decision. Where it cannot be carried out, the operation is refused."""

    name = "rewrite"
    settings = RewriteSettings

    def check(self, settings: RewriteSettings, groups: Groups) -> Iterator[Objection]:
        if settings == RewriteSettings():
            yield Objection((), "this rewrites nothing; give limit, read_only, replace or parts")

    def apply(self, rule: Statement, settings: RewriteSettings, draft: Draft) -> None:
        draft.rewrites.append(Rewrite(settings.limit, settings.read_only, settings.replace, settings.parts, rule.rule))


ACTION = RewriteAction()
