"""Credentials for upstreams: found where the reference says, kept in memory, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.core.credentials import AccessToken

from edge_agent.credentials import KEPT, CredentialError, Credentials
from edge_agent.gateway import Upstream
from edge_agent.settings import CredentialReference, Limits, ResourceSettings


def resource(scheme: str, place: str, username: str = "app", **header: str) -> ResourceSettings:
    upstream = Upstream("db.internal", 5432, "/orders", username)
    reference = CredentialReference(scheme, place, **header)
    return ResourceSettings("orders-db", "postgres", upstream, reference, {}, "enforce", Limits(0, 0, 0, 0))


async def test_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is the URL's; the secret is not in the repr."""
    monkeypatch.setenv("ORDERS", "hunter2")
    found = await Credentials().credential(resource("env", "ORDERS"))
    assert (found.username, found.secret) == ("app", "hunter2")
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("secret", "username", "expected"),
    [
        ("pass:word", "app", ("app", "pass:word")),
        ("writer:pass:word", "", ("writer", "pass:word")),
        ('{"username": "writer", "password": "p"}', "app", ("writer", "p")),
        ("{not json", "app", ("app", "{not json")),
        ("line\n", "app", ("app", "line")),
    ],
)
async def test_who_the_user_is(tmp_path: Path, secret: str, username: str, expected: tuple[str, str]) -> None:
    """From the secret itself where it carries a user, else from the URL."""
    (tmp_path / "secret").write_text(secret)
    found = await Credentials().credential(resource("file", str(tmp_path / "secret"), username))
    assert (found.username, found.secret) == expected


@pytest.mark.parametrize(
    ("scheme", "place", "username", "said"),
    [
        (
            "env",
            "NOT_SET_ANYWHERE",
            "app",
            r"'orders-db' \(env://\): the environment variable NOT_SET_ANYWHERE is not set",
        ),
        ("file", "/nowhere", "app", "/nowhere cannot be read: No such file"),
        ("env", "ORDERS", "", "no user name: write it into the upstream URL"),
    ],
)
async def test_what_cannot_be_had_is_named_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, scheme: str, place: str, username: str, said: str
) -> None:
    """Which resource, which reference, and what to do."""
    monkeypatch.setenv("ORDERS", "hunter2")
    with pytest.raises(CredentialError, match=said) as caught:
        await Credentials().credential(resource(scheme, place, username))
    assert "hunter2" not in str(caught.value)


async def test_a_secret_is_read_again_when_upstream_refused_it_or_it_is_old(tmp_path: Path) -> None:
    """A rotated password is found without a restart."""
    now = [0.0]
    path = tmp_path / "secret"
    one = resource("file", str(path))
    credentials = Credentials(lambda: now[0])
    path.write_text("first")
    assert (await credentials.credential(one)).secret == "first"
    path.write_text("second")
    assert (await credentials.credential(one)).secret == "first"
    assert (await credentials.credential(one, refetch=True)).secret == "second"
    path.write_text("third")
    now[0] += KEPT + 1
    assert (await credentials.credential(one)).secret == "third"


def api(
    secret: Path | None = None,
    host: str = "billing.internal",
    username: str = "",
    *,
    scheme: str = "file",
    **placed: str,
) -> ResourceSettings:
    reference = CredentialReference(scheme, str(secret or ""), **placed)
    where = Upstream(host, 443, "", username, {"scheme": "https"})
    return ResourceSettings("billing", "http", where, reference, {}, "enforce", Limits(0, 0, 0, 0))


async def test_a_key_goes_whole_into_its_header_or_query(tmp_path: Path) -> None:
    """A colon or a brace in it does not make it a user name and password."""
    path = tmp_path / "secret"
    for secret in ("sk:live:7", '{"username": "a", "password": "b"}'):
        path.write_text(secret)
        header = await Credentials().credential(api(path, header="X-Api-Key", value="Key {secret}"))
        query = await Credentials().credential(api(path, query="api_key", value="{secret}"))
        assert (header.header, header.query, header.injected) == ("X-Api-Key", "", f"Key {secret}")
        assert (query.header, query.query, query.injected) == ("", "api_key", secret)
        assert secret not in repr(header)


@pytest.mark.parametrize(("secret", "username"), [("Aladdin:open sesame", ""), ("open sesame", "Aladdin")])
async def test_user_and_password_go_as_basic_authentication(tmp_path: Path, secret: str, username: str) -> None:
    """The example of RFC 7617."""
    (tmp_path / "secret").write_text(secret)
    found = await Credentials().credential(api(tmp_path / "secret", username=username))
    assert (found.header, found.injected) == ("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")


@pytest.mark.parametrize("secret", ["a\r\nX-Evil: 1", "a\0", "schlüssel\u2013"])
async def test_a_secret_that_no_header_can_carry_is_refused(tmp_path: Path, secret: str) -> None:
    """It would end the header, or could not be said; the error does not repeat it."""
    (tmp_path / "secret").write_bytes(secret.encode())
    with pytest.raises(CredentialError, match=r"'billing' \(file://\): it holds a character that no header") as caught:
        await Credentials().credential(api(tmp_path / "secret", header="X-Key", value="{secret}"))
    assert "Evil" not in str(caught.value)


async def test_a_key_without_a_place_says_how_to_give_it_one(tmp_path: Path) -> None:
    """A bare reference is a token or a user's password."""
    (tmp_path / "secret").write_text("just-a-key")
    with pytest.raises(CredentialError, match=r"or write \{header: …, value: …, secret: …\} for a key"):
        await Credentials().credential(api(tmp_path / "secret"))


class _Identity:
    """An Azure identity that gives a token naming the scope it was asked for."""

    async def get_token(self, scope: str) -> AccessToken:
        return AccessToken(f"token-for-{scope}", 4_000_000_000)

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("scheme", "place", "host", "scope"),
    [
        ("entra", "", "management.azure.com", "https://management.azure.com/.default"),
        ("entra", "", "acct.blob.core.windows.net", "https://storage.azure.com/.default"),
        ("entra", "", "ACCT.vault.azure.net.", "https://vault.azure.net/.default"),
        ("entra", "api://billing/.default", "billing.internal", "api://billing/.default"),
        ("managed-identity", "some-id", "acct.table.core.windows.net", "https://storage.azure.com/.default"),
        ("managed-identity", "some-id?scope=api://b/.default", "billing.internal", "api://b/.default"),
    ],
)
async def test_a_token_is_for_the_service_that_is_called(
    monkeypatch: pytest.MonkeyPatch, scheme: str, place: str, host: str, scope: str
) -> None:
    """The scope follows from the host unless it is written, and the token goes as a bearer token."""
    asked: list[str] = []

    def azure(_: Credentials, client_id: str = "") -> _Identity:
        asked.append(client_id)
        return _Identity()

    monkeypatch.setattr(Credentials, "_azure", azure)
    resource = ResourceSettings(
        "api", "http", Upstream(host, 443), CredentialReference(scheme, place), {}, "enforce", Limits(0, 0, 0, 0)
    )
    found = await Credentials().credential(resource)
    assert (found.header, found.injected) == ("Authorization", f"Bearer token-for-{scope}")
    assert asked == ["some-id" if scheme == "managed-identity" else ""]


async def test_without_a_reference_there_is_no_secret() -> None:
    """The upstream trusts the edge by other means."""
    bare = ResourceSettings("r", "postgres", Upstream("h", 1, "", "app"), None, {}, "enforce", Limits(0, 0, 0, 0))
    found = await Credentials().credential(bare)
    assert (found.username, found.secret, found.kind) == ("app", "", "none")


async def test_a_key_vault_that_cannot_be_reached_gives_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No identity on this machine: the resource and the kind of reference are named."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "IDENTITY_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    credentials = Credentials()
    with pytest.raises(CredentialError, match=r"resource 'orders-db' \(keyvault://\)"):
        await credentials.credential(resource("keyvault", "127.0.0.1:9/orders-rw"))
    await credentials.close()
