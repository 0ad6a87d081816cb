"""A conversation with a generator, written as it happens: `<<` is what it must ask next, `>>` what the world answers.

    (
        playbook(admit(...))
        << Record((Pending(...),))
        << AwaitGrant(...)
        >> NotGranted(...)
        << Refuse
    ).over()
An expectation is a type, a predicate, or a value to be equal to.
`Record` and `Refuse` are answered with None by the playbook itself.
"""

from collections.abc import Callable, Generator
from typing import Any, Self

from gateway_kernel.commands import Record, Refuse

type Expectation = Any


class Playbook:
    """One run of a generator; every command it yields must be expected."""

    def __init__(self, conversation: Generator[Any, Any]) -> None:
        self._conversation = conversation
        self.commands: list[Any] = []
        self.ended = False
        self._answered = True
        self._advance(None)

    def _advance(self, answer: Any) -> None:
        try:
            self.commands.append(self._conversation.send(answer))
        except StopIteration:
            self.ended = True

    @property
    def current(self) -> Any:
        """The command that waits for an answer."""
        assert not self.ended, f"the conversation is over after {self.commands!r}"
        return self.commands[-1]

    def __lshift__(self, expected: Expectation) -> Self:
        """The next command must be this. Commands whose answer is always None are answered at once."""
        command = self.current
        if isinstance(expected, type):
            assert isinstance(command, expected), f"expected {expected.__name__}, got {command!r}"
        elif isinstance(expected, Callable):
            assert expected(command), f"{command!r} is not what {expected!r} accepts"
        else:
            assert command == expected
        if isinstance(command, Record | Refuse):
            self._advance(None)
        return self

    def __rshift__(self, answer: Any) -> Self:
        """The world answers the command."""
        self._advance(answer)
        return self

    def over(self) -> None:
        """Nothing more is asked."""
        assert self.ended, f"expected the end, got {self.current!r}"


def playbook(conversation: Generator[Any, Any]) -> Playbook:
    """Start the conversation."""
    return Playbook(conversation)


def recorded(*kinds: type, seal: bool | None = None) -> Callable[[Any], bool]:
    """Accepts a `Record` of exactly these event bodies, in order, sealed or not where `seal` says so."""

    def accepts(command: Any) -> bool:
        return (
            isinstance(command, Record)
            and tuple(type(event) for event in command.events) == kinds
            and (seal is None or command.seal is seal)
        )

    accepts.__qualname__ = f"recorded({', '.join(kind.__name__ for kind in kinds)}, seal={seal})"
    return accepts
