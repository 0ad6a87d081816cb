"""What every protocol room offers and what it is given. One protocol is one folder, listed in `registry.PROTOCOLS`.

A room turns bytes into operations and carries out what the driver decides; it never decides itself.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol as Interface

from edge_agent.gateway import Gateway


class Room(Interface):
    """A protocol room."""

    @property
    def name(self) -> str:
        """The protocol's name in edge.yaml: a listener key and a resource's `protocol`."""
        ...

    @property
    def tls_first(self) -> bool:
        """True if a connection begins with TLS wherever its listener has a certificate; else the room begins TLS itself."""
        ...

    def connections(self, gateway: Gateway) -> Callable[[], asyncio.BaseProtocol]:
        """Return the factory that the listener calls for each accepted connection."""
        ...

    def cancel(self, key: bytes) -> None:
        """A cancel key that another worker received and that names this one; unknown keys are ignored."""
        ...

    async def drain(self, seconds: float) -> None:
        """Let operations in flight finish, tell held ones, close everything within `seconds`."""
        ...
