"""edge.yaml: what this edge listens on, guards, and may use. A public contract (ARCHITECTURE.md, section 6), loaded
strictly.

An unknown key, a wrong type or a contradiction stops startup with `file:line:column: what`, all of them at once.
Relative paths are relative to the file. No secret stands in it: credentials are references, resolved in
`credentials`.
"""

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from edge_agent import settings_http as http
from edge_agent.gateway import Route, Upstream
from edge_agent.openapi import OpenApiError
from edge_agent.routes import PathError
from edge_agent.settings_file import (
    EdgeFile,
    InjectedFile,
    KiB,
    LimitsFile,
    ListenerFile,
    MiB,
    ResourceFile,
    Tls,
    seconds,
    size,
)
from gateway_kernel.errors import PolicyError, SallyportError
from gateway_kernel.model import Mode
from gateway_kernel.policy.shape import MISFIT, fit, nearest
from gateway_kernel.policy.source import Node, Problem, find, parse

KEY_VARIABLE = "SALLYPORT_EDGE_KEY"
REFERENCES = ("keyvault", "entra", "managed-identity", "env", "file")
"""Schemes of credential references."""

_EDGE_KEY = re.compile(r"spe_([a-z0-9][a-z0-9.-]{0,62})_([A-Za-z0-9_-]{16,})\Z")


class SettingsError(SallyportError):
    """edge.yaml does not load. Carries every problem as `file:line:column: what (hint)`."""


class Address(msgspec.Struct, frozen=True):
    """A host and a port to bind; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener(msgspec.Struct, frozen=True):
    """One protocol's address, and the certificate it shows."""

    protocol: str
    address: Address
    tls: Tls | None


class Limits(msgspec.Struct, frozen=True):
    """`LimitsFile` with `statement` in bytes."""

    connections: int
    connections_per_second: int
    operations_per_second: int
    statement: int


class CredentialReference(msgspec.Struct, frozen=True):
    """Where a secret is, never the secret. `header` or `query`, and `value`, say where it is injected, "" for the protocol's own place."""

    scheme: str
    place: str
    header: str = ""
    value: str = ""
    query: str = ""


class ResourceSettings(msgspec.Struct, frozen=True):
    """A resource as this edge is to guard it."""

    name: str
    protocol: str
    upstream: Upstream
    credential: CredentialReference | None
    labels: dict[str, str]
    mode: Mode
    limits: Limits
    routes: tuple[Route, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """What holds. Times are seconds, sizes bytes, paths absolute."""

    source: Path
    edge: str
    control_plane: str
    public_key: str
    data_dir: Path
    hold: float
    hold_in_transaction: float
    policy_max_age: float
    revocation_max_age: float
    drain: float
    durability: Literal["local", "control_plane"]
    health: Address | None
    workers: int
    log_level: str
    listeners: tuple[Listener, ...]
    resources: tuple[ResourceSettings, ...]
    edge_limits: Limits
    agent_limits: Limits
    spool_quota: int
    spool_segment: int


def load(path: Path, protocols: tuple[str, ...]) -> Settings:
    """Load `path` for an edge that speaks `protocols`; raise `SettingsError` with every problem."""
    name = str(path)
    try:
        text = path.read_bytes()
        if not text.strip():
            raise SettingsError(f"{name}:1:1: the file is empty; see examples/edge.yaml")
        root, _ = parse(text, name)
    except OSError as error:
        raise SettingsError(f"{name}: cannot be read: {error.strerror}") from None
    except PolicyError as error:
        raise SettingsError(str(error)) from None
    problems: list[Problem] = []
    file = fit(root, EdgeFile, problems)
    settings, elsewhere = None, []
    if file is not MISFIT and not problems:
        reading = _Reading(path.absolute(), root, protocols, problems)
        settings, elsewhere = reading.settings(file), reading.elsewhere
    if settings is None or problems or elsewhere:
        raise SettingsError("\n".join([*(problem.text(name) for problem in sorted(problems)), *elsewhere]))
    return settings


class _Reading:
    """From the file's form to what holds; every contradiction becomes a problem with a place."""

    def __init__(self, path: Path, root: Node, protocols: tuple[str, ...], problems: list[Problem]) -> None:
        self._path = path
        self._root = root
        self._protocols = protocols
        self._problems = problems
        self.elsewhere: list[str] = []
        """Problems in files that edge.yaml names, with their own places."""

    def settings(self, file: EdgeFile) -> Settings:
        listeners = tuple(self._listener(protocol, each, file.tls) for protocol, each in file.listeners.items())
        if not listeners:
            self._object(f"no listener; write for example {{{self._protocols[0]}: 127.0.0.1:0}}", "listeners")
        resources = tuple(self._resource(i, each, file) for i, each in enumerate(file.resources))
        self._names(file)
        url = urlsplit(file.control_plane.url)
        if url.scheme not in ("http", "https") or not url.netloc or url.username is not None:
            self._object("expected an http:// or https:// URL without a user name in it", "control_plane", "url")
        elif url.scheme == "http" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
            self._object("http:// is for loopback only; use https://", "control_plane", "url")
        return Settings(
            source=self._path,
            edge=file.edge,
            control_plane=file.control_plane.url.rstrip("/"),
            public_key=file.control_plane.public_key,
            data_dir=self._below(file.data_dir),
            hold=seconds(file.hold),
            hold_in_transaction=seconds(file.hold_in_transaction),
            policy_max_age=seconds(file.policy_max_age),
            revocation_max_age=seconds(file.revocation_max_age),
            drain=seconds(file.drain),
            durability=file.durability,
            health=self._address(file.health, "health") if file.health else None,
            workers=file.workers,
            log_level=file.log_level,
            listeners=listeners,
            resources=resources,
            edge_limits=_limits(file.limits.edge),
            agent_limits=_limits(file.limits.agent),
            spool_quota=self._at_least(MiB, file.spool.quota, "spool", "quota"),
            spool_segment=self._at_least(64 * KiB, file.spool.segment, "spool", "segment"),
        )

    def _object(self, what: str, *path: str | int) -> None:
        self._problems.append(Problem(find(self._root, *path).place, what))

    def _below(self, path: str) -> Path:
        return (self._path.parent / path).resolve()

    def _at_least(self, least: int, text: str, *path: str) -> int:
        value = size(text)
        if value < least:
            self._object(f"expected at least {least >> 10}KiB", *path)
        return value

    def _listener(self, protocol: str, written: str | ListenerFile, tls: Tls | None) -> Listener:
        self._known(protocol, "listeners", protocol)
        if isinstance(written, str):
            return Listener(protocol, self._address(written, "listeners", protocol), self._tls(tls, "tls"))
        own = self._tls(written.tls, "listeners", protocol, "tls") if written.tls else self._tls(tls, "tls")
        return Listener(protocol, self._address(written.address, "listeners", protocol, "address"), own)

    def _tls(self, tls: Tls | None, *path: str) -> Tls | None:
        if tls is None:
            return None
        for key, value in (("cert", tls.cert), ("key", tls.key)):
            if not self._below(value).is_file():
                self._object(f"{value}: no such file", *path, key)
        return Tls(str(self._below(tls.cert)), str(self._below(tls.key)))

    def _known(self, protocol: str, *path: str | int) -> None:
        if protocol not in self._protocols:
            hint = nearest(protocol, self._protocols)
            self._object(f"unknown protocol {protocol!r}{hint}", *path)

    def _address(self, text: str, *path: str) -> Address:
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
            self._object(f"expected host:port, found {text!r} (port 0 lets the system choose)", *path)
            return Address("", 0)
        return Address(host, int(port))

    def _names(self, file: EdgeFile) -> None:
        seen: set[str] = set()
        for i, resource in enumerate(file.resources):
            if resource.name in seen:
                self._object(f"a second resource is named {resource.name!r}", "resources", i, "name")
            seen.add(resource.name)

    def _resource(self, i: int, written: ResourceFile, file: EdgeFile) -> ResourceSettings:
        self._known(written.protocol, "resources", i, "protocol")
        if written.protocol in self._protocols and written.protocol not in file.listeners:
            what = f"resource {written.name!r} has no listener: add `{written.protocol}` to `listeners`"
            self._object(what, "resources", i, "protocol")
        upstream = self._upstream(i, written.upstream)
        credential = self._credential(i, written.credential)
        if written.protocol == http.PROTOCOL:
            self._http(i, upstream, credential)
        else:
            self._no_http(i, written)
        return ResourceSettings(
            name=written.name,
            protocol=written.protocol,
            upstream=upstream,
            credential=credential,
            labels=written.labels,
            mode=written.mode,
            limits=_limits(written.limits or file.limits.resource),
            routes=self._routes(i, written, upstream),
        )

    def _http(self, i: int, upstream: Upstream, credential: CredentialReference | None) -> None:
        if what := http.upstream_problem(upstream):
            self._object(what, "resources", i, "upstream")
        elif credential and (what := http.scope_problem(credential.scheme, credential.place, upstream.host)):
            self._object(what, "resources", i, "credential")

    def _no_http(self, i: int, written: ResourceFile) -> None:
        said = {"routes": written.routes, "openapi": written.openapi}
        for key in (key for key, value in said.items() if value):
            self._object(f"`{key}` is for resources of protocol {http.PROTOCOL}", "resources", i, key)
        if isinstance(written.credential, InjectedFile):
            what = (
                f"a credential goes into a header or query at protocol {http.PROTOCOL} only; write the reference alone"
            )
            self._object(what, "resources", i, "credential")

    def _routes(self, i: int, written: ResourceFile, upstream: Upstream) -> tuple[Route, ...]:
        """Those of the file first, so that they hold where the OpenAPI document says something else of the same path."""
        routes: list[Route] = []
        for number, route in enumerate(written.routes):
            try:
                routes.append(http.route_of(route))
            except PathError as error:
                self._object(str(error), "resources", i, "routes", number, "path")
        if written.openapi:
            try:
                routes.extend(http.described(self._below(written.openapi), upstream))
            except OpenApiError as error:
                self.elsewhere.append(str(error))
        return tuple(routes)

    def _upstream(self, i: int, text: str) -> Upstream:
        path = ("resources", i, "upstream")
        url = urlsplit(text)
        try:
            port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
        except ValueError:
            port = 0
        if url.password is not None:
            self._object(
                "a password stands in the URL; put it behind `credential: env://NAME` or another reference", *path
            )
        elif not url.scheme or not url.hostname:
            self._object("expected a URL such as scheme://host:port/path", *path)
        elif not 0 < port < 65536:
            self._object("the URL names no port from 1 to 65535", *path)
        options = dict(parse_qsl(url.query, keep_blank_values=True))
        for key, value in options.items():
            if key.endswith(("cert", "key")) and value and value != "system":
                options[key] = str(self._below(value))
        options["scheme"] = url.scheme
        return Upstream(url.hostname or "", port, unquote(url.path), unquote(url.username or ""), options)

    def _credential(self, i: int, written: str | InjectedFile | None) -> CredentialReference | None:
        if written is None:
            return None
        if isinstance(written, str):
            return self._reference(written, "resources", i, "credential")
        if what := http.injection_problem(written):
            self._object(what, "resources", i, "credential")
        reference = self._reference(written.secret, "resources", i, "credential", "secret")
        return msgspec.structs.replace(reference, header=written.header, value=written.value, query=written.query)

    def _reference(self, text: str, *path: str | int) -> CredentialReference:
        scheme, separator, place = text.partition("://")
        if not separator or scheme not in REFERENCES:
            # The text is not repeated: whoever wrote no reference may have written the secret itself.
            known = ", ".join(f"{each}://" for each in REFERENCES)
            self._object(f"expected a credential reference ({known})", *path)
        elif not place and scheme not in ("entra", "managed-identity"):
            self._object(f"{scheme}:// names nothing", *path)
        elif scheme == "keyvault" and place.count("/") not in (1, 2):
            self._object("expected keyvault://vault/secret or keyvault://vault/secret/version", *path)
        if scheme == "file":
            place = str(self._below(place))
        return CredentialReference(scheme, place)


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _limits(file: LimitsFile) -> Limits:
    return Limits(file.connections, file.connections_per_second, file.operations_per_second, size(file.statement))


def edge_key() -> str:
    """This edge's key to the control plane, from the environment; raise `SettingsError` if there is none."""
    key = os.environ.get(KEY_VARIABLE, "")
    if not _EDGE_KEY.match(key):
        problem = "is not set" if not key else "does not look like spe_<edge>_<secret>"
        raise SettingsError(
            f"the environment variable {KEY_VARIABLE} {problem}; it holds the key that registering the edge printed"
        )
    return key


def edge_name(settings: Settings) -> str:
    """This edge's name: what its key says, which edge.yaml may repeat; raise `SettingsError` if they differ."""
    match = _EDGE_KEY.match(edge_key())
    named = match[1] if match else ""
    if settings.edge and settings.edge != named:
        raise SettingsError(
            f"{settings.source}: edge is {settings.edge!r}, but the key in {KEY_VARIABLE} is that of {named!r}"
        )
    return named
