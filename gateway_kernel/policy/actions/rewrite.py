"""`then: rewrite`: another form of the operation is judged and runs, instead of the one that the agent sent."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from gateway_kernel.parse.readers import READERS
from gateway_kernel.policy.actions.action import Groups, Objection
from gateway_kernel.policy.obligations import Draft, Statement
from gateway_kernel.policy.shape import nearest
from gateway_kernel.verdict import Rewrite


class RewriteSettings(msgspec.Struct, frozen=True):
    """At least one of: a row `limit`, `read_only`, the text to run instead (`replace`), `parts` that the protocol knows.

    A part without a value is removed.
    """

    limit: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    read_only: bool = False
    replace: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    parts: dict[str, str | None] = {}


class RewriteAction:
    """Adds a rewrite, whatever the decision. Where it cannot be carried out, the operation is refused."""

    name = "rewrite"
    settings = RewriteSettings

    def check(self, settings: RewriteSettings, groups: Groups) -> Iterator[Objection]:
        if settings == RewriteSettings():
            yield Objection((), "this rewrites nothing; give limit, read_only, replace or parts")
        known = [part for reader in READERS for part in reader.parts]
        for name, value in settings.parts.items():
            readers = [reader for reader in READERS if any(_is(name, part) for part in reader.parts)]
            if not readers:
                yield Objection(
                    ("parts", name), f"no protocol has a part {name!r}{nearest(name, _named_so(name, known))}"
                )
            for reader in readers:
                if problem := reader.part_problem(name, value):
                    yield Objection(("parts", name), problem)

    def apply(self, rule: Statement, settings: RewriteSettings, draft: Draft) -> None:
        draft.rewrites.append(Rewrite(settings.limit, settings.read_only, settings.replace, settings.parts, rule.rule))


def _named_so(name: str, known: list[str]) -> list[str]:
    """The parts there are, with the name that was written where one follows."""
    rest = name.partition(".")[2]
    return [f"{part.partition('.')[0]}.{rest}" if rest and "." in part else part for part in known]


def _is(name: str, part: str) -> bool:
    """`query.page` is a `query.NAME`."""
    kind, dot, _ = part.partition(".")
    return name.startswith(kind + dot) and len(name) > len(kind + dot) if dot else name == part


ACTION = RewriteAction()
