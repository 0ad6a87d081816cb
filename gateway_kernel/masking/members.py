"""Which members of a JSON document column masks hide: path ends compiled to one automaton.

`customers.email` hides member `email` of `customers` wherever that stands. Arrays are transparent, `*` is any name, and the
document itself is called `$`: `$.email` hides only a member of the outermost object (or of the objects in an outermost array). Names are
compared without regard to case, as services that answer in `camelCase` and `PascalCase` would have it: hiding too much is the better error.

A walk begins at `Members.root` and takes one `step` a name, a dictionary look-up. This module reads no JSON.
"""

import re
from collections.abc import Iterable

from gateway_kernel.verdict import ColumnMask, Strategy, stricter_strategy

from .strategies import MaskingKeys, apply, require_keys

_ROOT = "$"
_ANY = "*"
_TOP = "\0$"  # what the document is called inside here: no member can be named so, once it is folded
PLAIN_KEY = rb"[ !#-\[\]-~]*+"  # ASCII without quotes, escapes and control characters

type _Path = tuple[str, ...]  # innermost name first, as the ends of paths are compared


class State:
    """Where a walk stands: what is hidden of the member reached, and where each name leads from here."""

    __slots__ = ("_next", "_other", "hides_any", "strategy")

    def __init__(self) -> None:
        self.strategy: Strategy | None = None  # of the member that was stepped to
        self.hides_any = False  # a member of any name is hidden here
        self._next: dict[str, State] = {}
        self._other: State = self

    def step(self, name: str) -> "State":
        """The state of the member with this name."""
        return self._next.get(name.casefold(), self._other)


class Members:
    """The members that these masks hide. Immutable; made once for a policy. ValueError for a mask without a name in it, or missing keys.

    `plain` matches a key, between its quotes, of which it is certain without a walk that no mask ends with it, save those that end with `*`.
    """

    __slots__ = ("_keys", "_named", "masks", "plain", "root", "wild")

    def __init__(self, masks: tuple[ColumnMask, ...], keys: MaskingKeys | None = None) -> None:
        self.masks = masks
        self._keys = keys
        for mask in masks:
            require_keys(mask.strategy, keys)
        ends: dict[_Path, Strategy] = {}
        for mask in masks:
            for column in mask.columns:
                path = tuple(_TOP if part == _ROOT else part.casefold() for part in column.split("."))[::-1]
                if not all(path):
                    raise ValueError(f"{column!r} does not name a member: write names parted by dots")
                held = ends.get(path)
                ends[path] = mask.strategy if held is None else stricter_strategy(held, mask.strategy)
        self.root = _automaton(ends)
        last = sorted({path[0] for path in ends} - {_TOP})
        self.wild = _ANY in last  # a mask ends with `*`
        words = b"|".join(re.escape(name.encode()) for name in last if name.isascii() and name != _ANY)
        guard = rb'(?!(?i:%b)")' % words if words else b""
        self.plain = guard + PLAIN_KEY
        names = b"|".join(re.escape(name.encode()) for name in last if name != _ANY)
        self._named = None if self.wild else re.compile(rb"(?<![A-Za-z0-9_])(?i:%b)(?![A-Za-z0-9_])" % names)

    def __bool__(self) -> bool:
        return bool(self.masks)

    def replace(self, strategy: Strategy, content: bytes) -> bytes | None:
        """What stands for a string under `strategy`; None is null."""
        return apply(strategy, content, self._keys)

    def named(self, text: bytes) -> int:
        """Where text, in which no members can be told from values, speaks of a hidden one, by the last part of its name; -1 if nowhere."""
        if self._named is None:
            return 0
        found = self._named.search(text)
        return -1 if found is None else found.start()


def _automaton(ends: dict[_Path, Strategy]) -> State:
    """The subset construction over path ends: a state is the set of (path, parts already matched, outermost first)."""
    paths = [path[::-1] for path in ends]
    names = {part for path in paths for part in path} - {_ANY}
    states: dict[frozenset[tuple[int, int]], State] = {}

    def reached(known: Iterable[tuple[int, int]], name: str | None) -> frozenset[tuple[int, int]]:
        tried = [*known, *((index, 0) for index in range(len(paths)))]
        return frozenset(
            (index, matched + 1)
            for index, matched in tried
            if matched < len(paths[index]) and paths[index][matched] in (_ANY, name)
        )

    def state(known: frozenset[tuple[int, int]]) -> State:
        if (found := states.get(known)) is not None:
            return found
        made = states[known] = State()
        for index, matched in known:
            if matched == len(paths[index]):
                strategy = ends[paths[index][::-1]]
                made.strategy = strategy if made.strategy is None else stricter_strategy(made.strategy, strategy)
        made._other = state(reached(known, None))  # pyright: ignore[reportPrivateUsage] - states are made nowhere else
        made.hides_any = made._other.strategy is not None  # pyright: ignore[reportPrivateUsage]
        made._next = {name: state(reached(known, name)) for name in names - {_TOP}}  # pyright: ignore[reportPrivateUsage]
        return made

    return state(reached((), _TOP))


NOTHING = State()  # what is walked where no member is hidden
