"""The port of a notifier, and what it is given to send."""

from typing import Protocol as Interface

import msgspec


class Message(msgspec.Struct, frozen=True):
    """One step of one review, for people. Carries no command text: that is shown only to who signed in, or follows the link sent to it.

    `links` maps a person to its own single-use link; only notifiers that reach that person alone may pass it on. `key` names
    review and step, so that a receiver can drop a message that it got twice.
    """

    key: str
    review: str
    step: str
    agent: str
    resource: str
    protocol: str
    verb: str
    reason: str
    url: str
    people: tuple[str, ...] = ()
    links: dict[str, str] = {}


class NotifierError(Exception):
    """The message did not get through; it will be tried again."""


class Notifier(Interface):
    """One way to reach people."""

    @property
    def name(self) -> str: ...

    @property
    def personal(self) -> bool:
        """True if it reaches each person alone, and so may carry links."""
        ...

    async def send(self, message: Message) -> None:
        """Send at least once; raise `NotifierError` if that failed."""
        ...
