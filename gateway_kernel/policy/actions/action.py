"""What a rule action is. Each stands in a file of its own; the registry in `__init__` is an explicit tuple."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from typing import Protocol as Interface

import msgspec

from gateway_kernel.policy.obligations import Draft, Statement

Duration = Annotated[
    str, msgspec.Meta(pattern=r"\A[1-9][0-9]{0,8}[smhd]\Z", description="a duration such as 90s, 30m, 2h or 1d")
]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

GroupName = Annotated[
    str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}\Z", description="the name of an approver group")
]
_ENTRA = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")

type Groups = Mapping[str, tuple[str, ...]]
"""Approver groups: name -> people (lower case) and Entra group ids."""


def seconds(duration: str) -> int:
    """`2h` -> 7200."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


def is_entra_id(member: str) -> bool:
    """True for an Entra group id (a UUID), whose members only Entra knows."""
    return _ENTRA.match(member) is not None


class Objection(msgspec.Struct, frozen=True):
    """Something about an action's settings that their type does not say, at `path` within them. Not `fatal`: a warning."""

    path: tuple[str | int, ...]
    what: str
    fatal: bool = True


class Action(Interface):
    """One thing that a rule can do.

    `settings` is the type of the section of the same name in the rule, None if there is none. `check` yields what is wrong with settings
    of that type; `apply` adds to the draft what the rule contributes once its condition holds.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Any: ...

    def check(self, settings: Any, groups: Groups) -> Iterator[Objection]: ...

    def apply(self, rule: Statement, settings: Any, draft: Draft) -> None: ...
