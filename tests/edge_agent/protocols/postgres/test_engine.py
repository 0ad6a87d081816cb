"""The engine between a real driver and a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.edge_agent.protocols.postgres.conftest import Gate


async def test_a_read_goes_through_in_both_protocols(edge: Gate) -> None:
    """The simple and the extended protocol bring the server's own rows."""
    async with await edge.connect() as connection:
        simple = await connection.execute("SELECT id, v FROM t ORDER BY id")
        assert await simple.fetchall() == [(i, f"v{i}") for i in range(1, 6)]
        extended = await connection.execute("SELECT v FROM t WHERE id = %s", (3,))
        assert await extended.fetchall() == [("v3",)]
