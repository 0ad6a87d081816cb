"""What is injected upstream: resolves credential references to secrets, keeps them in memory only, and fetches anew when
upstream refuses.

`env://NAME` and `file://path` are read here; `keyvault://`, `entra://` and `managed-identity://` go through
azure-identity, whose clients are made at first use. Where in a request the secret goes is decided here as well: where edge.yaml says,
else in `Authorization`, as a bearer token or as user name and password. Nothing here logs, stores or shows a secret, and no agent ever
receives one.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from azure.core.exceptions import AzureError

from edge_agent import settings_http as http
from edge_agent.gateway import Credential
from edge_agent.settings import CredentialReference, ResourceSettings
from edge_agent.settings_http import SCOPE_FOLLOWS

FETCH_LIMIT = 20.0  # seconds for one fetch from Azure
KEPT = 900.0  # seconds after which a cached secret is read again
_EARLY = 300.0  # seconds before a token's expiry at which it is fetched anew
_DATABASE_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
_HEADER_VALUE = re.compile(r"[!-~\x80-\xff]([ -~\x80-\xff]*[!-~\x80-\xff])?\Z")  # RFC 9110, 5.5, without tabs


class CredentialError(Exception):
    """A credential cannot be had. The text names the reference and why, never what was found."""


class _Pair(msgspec.Struct, frozen=True):
    """A secret that carries its user name."""

    username: str
    password: str


class _Cached(msgspec.Struct, frozen=True):
    credential: Credential
    until: float


class Credentials:
    """The credentials of this worker's resources."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._cached: dict[tuple[str, CredentialReference], _Cached] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._identities: dict[str, Any] = {}
        self._vaults: dict[str, Any] = {}

    async def credential(self, resource: ResourceSettings, *, refetch: bool = False) -> Credential:
        """The credential of `resource`; `refetch` after upstream refused the one before. Raises `CredentialError`."""
        reference = resource.credential
        if reference is None:
            return Credential(resource.upstream.username, "", "none")
        key = (resource.name, reference)
        before = self._cached.get(key)
        if before and not refetch and self._clock() < before.until:
            return before.credential
        async with self._locks.setdefault(resource.name, asyncio.Lock()):
            current = self._cached.get(key)
            if current is not None and current is not before:
                return current.credential  # somebody else fetched it while this one waited
            fetched = await self._fetch(resource, reference)
            if resource.protocol == http.PROTOCOL:
                fetched = _Cached(_placed(fetched.credential, resource.name, reference), fetched.until)
            self._cached[key] = fetched
            return fetched.credential

    async def _fetch(self, resource: ResourceSettings, reference: CredentialReference) -> _Cached:
        named = f"credential of resource {resource.name!r} ({reference.scheme}://)"
        try:
            async with asyncio.timeout(FETCH_LIMIT):
                match reference.scheme:
                    case "env":
                        return self._static(resource, _from_environment(reference.place))
                    case "file":
                        return self._static(resource, await asyncio.to_thread(_from_file, Path(reference.place)))
                    case "keyvault":
                        return await self._from_vault(resource, reference.place)
                    case _:
                        return await self._token(resource, reference)
        except TimeoutError:
            raise CredentialError(f"{named}: no answer within {FETCH_LIMIT:.0f} s") from None
        except AzureError as error:
            # Azure's messages may quote request details; its type and status say enough.
            status = getattr(error, "status_code", "")
            raise CredentialError(f"{named}: {type(error).__name__} {status}".rstrip()) from None
        except CredentialError as error:
            raise CredentialError(f"{named}: {error}") from None

    def _static(self, resource: ResourceSettings, secret: str, version: str = "", fallback: str = "") -> _Cached:
        username = resource.upstream.username
        if resource.credential and resource.credential.value:
            return _Cached(Credential(username, secret, "injected", version), self._clock() + KEPT)
        if secret.startswith("{"):
            with contextlib.suppress(msgspec.DecodeError):
                pair = msgspec.json.decode(secret, type=_Pair)
                return _Cached(Credential(pair.username, pair.password, "password", version), self._clock() + KEPT)
        if not username and not fallback and ":" in secret:
            username, _, secret = secret.partition(":")
        username = username or fallback
        if not username:
            key = ", or write {header: …, value: …, secret: …} for a key" if resource.protocol == http.PROTOCOL else ""
            raise CredentialError(
                f'no user name: write it into the upstream URL, or store {{"username": …, "password": …}}{key}'
            )
        return _Cached(Credential(username, secret, "password", version), self._clock() + KEPT)

    async def _from_vault(self, resource: ResourceSettings, place: str) -> _Cached:
        from azure.keyvault.secrets.aio import SecretClient

        vault, _, rest = place.partition("/")
        name, _, version = rest.partition("/")
        client = self._vaults.get(vault)
        if client is None:
            url = f"https://{vault}" if "." in vault else f"https://{vault}.vault.azure.net"
            client = self._vaults[vault] = SecretClient(url, self._azure())
        found = await client.get_secret(name, version or None)
        tags = found.properties.tags or {}
        user = tags.get("username") or name
        return self._static(resource, found.value or "", found.properties.version or "", user)

    async def _token(self, resource: ResourceSettings, reference: CredentialReference) -> _Cached:
        default = _DATABASE_SCOPE
        if resource.protocol == http.PROTOCOL:
            default = http.scope_for(resource.upstream.host)
        client_id, scope = "", reference.place
        if reference.scheme == "managed-identity":
            client_id, _, scope = reference.place.partition(SCOPE_FOLLOWS)
        token = await self._azure(client_id).get_token(scope or default)
        kept = Credential(resource.upstream.username, token.token, "token", str(token.expires_on))
        return _Cached(kept, token.expires_on - _EARLY)

    def _azure(self, client_id: str = "") -> Any:
        """The identity of this machine, or the managed identity named by its client id."""
        if client_id not in self._identities:
            from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

            self._identities[client_id] = (
                ManagedIdentityCredential(client_id=client_id)
                if client_id
                else DefaultAzureCredential(exclude_interactive_browser_credential=True)
            )
        return self._identities[client_id]

    async def close(self) -> None:
        """Close the clients that were made."""
        for client in (*self._vaults.values(), *self._identities.values()):
            await client.close()


def _placed(credential: Credential, resource: str, reference: CredentialReference) -> Credential:
    """The credential with its place in a request."""
    header, query, value = reference.header, reference.query, reference.value
    if not value:
        header, value = "Authorization", "Bearer {secret}" if credential.kind == "token" else "Basic {basic}"
    placed = msgspec.structs.replace(credential, header=header, query=query, value=value)
    if header and not _HEADER_VALUE.match(placed.injected):
        raise CredentialError(
            f"credential of resource {resource!r} ({reference.scheme}://): it holds a character that no header can carry"
        )
    return placed


def _from_environment(name: str) -> str:
    secret = os.environ.get(name, "")
    if not secret:
        raise CredentialError(f"the environment variable {name} is not set")
    return secret


def _from_file(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"{path} cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None
    if not secret:
        raise CredentialError(f"{path} is empty")
    return secret
