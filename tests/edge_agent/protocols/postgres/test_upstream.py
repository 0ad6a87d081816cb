"""Connecting to a real server with each kind of credential."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.gateway import Credential, Upstream
from edge_agent.protocols.postgres import upstream
from edge_agent.protocols.postgres.upstream import UpstreamError

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


def target(postgres: Postgres, **options: str) -> Upstream:
    return Upstream("127.0.0.1", postgres.port, "postgres", "", options)


async def connected(postgres: Postgres, role: str, kind: str = "password", secret: str = "", **options: str) -> str:
    """Connect, ask nothing, hang up; what the server said of its version."""
    credential = Credential(role, secret or postgres.password, kind)
    parameters = {"user": role, "database": "postgres"}
    connection = await upstream.connect(target(postgres, **options), credential, parameters)
    connection.transport.close()
    assert connection.process > 0
    return dict(connection.parameters)[b"server_version"].decode()


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
async def test_scram_with_and_without_channel_binding(postgres: Postgres, mode: str) -> None:
    """The real server accepts SCRAM-SHA-256 in clear and SCRAM-SHA-256-PLUS under TLS."""
    assert (await connected(postgres, "app_role", sslmode=mode)).startswith("15")


async def test_a_verified_server(postgres: Postgres) -> None:
    """verify-full succeeds with the server's own root, and fails with the system's."""
    await connected(postgres, "app_role", sslmode="verify-full", sslrootcert=str(postgres.certificate))
    with pytest.raises(UpstreamError, match="TLS"):
        await connected(postgres, "app_role", sslmode="verify-full")


async def test_md5_on_loopback_and_cleartext_only_for_a_token(postgres: Postgres) -> None:
    """A password never goes out in clear; a token does, on a verified connection."""
    await connected(postgres, "md5_role")
    with pytest.raises(UpstreamError, match="in clear"):
        await connected(postgres, "cleartext_role")
    with pytest.raises(UpstreamError, match="in clear"):
        await connected(postgres, "cleartext_role", "token", sslmode="require")
    verified = {"sslmode": "verify-full", "sslrootcert": str(postgres.certificate)}
    await connected(postgres, "cleartext_role", "token", **verified)


async def test_failures_are_named_without_secrets(postgres: Postgres, postgres18: Postgres) -> None:
    """Wrong password, no server, a server without TLS."""
    with pytest.raises(UpstreamError) as caught:
        await connected(postgres, "app_role", secret="wrong-secret")
    assert caught.value.code == "28P01"
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(UpstreamError, match="does not speak TLS"):
        await connected(postgres18, "app_role", sslmode="require")
    assert (await connected(postgres18, "app_role")).startswith("18")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await upstream.connect(Upstream("127.0.0.1", 1), Credential("x", "y"), {"user": "x"})


async def test_a_server_that_says_nothing_or_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hangs the connection."""
    monkeypatch.setattr(upstream, "CONNECT_LIMIT", 0.3)

    writers: list[asyncio.StreamWriter] = []

    async def serve(answer: bytes) -> int:
        async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(answer)

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    for answer, what in ((b"", "did not answer"), (b"HTTP/1.1 400 Bad Request\r\n", "protocol")):
        port = await serve(answer)
        where = Upstream("127.0.0.1", port, "", "", {"sslmode": "disable"})
        with pytest.raises(UpstreamError, match=what):
            await upstream.connect(where, Credential("x", "y"), {"user": "x"})
