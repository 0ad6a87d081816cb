"""edge.yaml as it is written: its keys, their types and defaults. docs/settings.md describes each; `settings` says what they mean together."""

import re
from typing import Annotated, Literal

import msgspec

from gateway_kernel.model import Mode

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "B": 1, "KiB": KiB, "MiB": MiB, "GiB": GiB}
_DURATION = re.compile(r"([0-9]+)(ms|s|m|h|d)\Z")
_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB|GiB)?\Z")

Duration = Annotated[
    str, msgspec.Meta(pattern=_DURATION.pattern, extra_json_schema={"description": "a duration such as 300s, 5m or 1h"})
]
Size = Annotated[
    str, msgspec.Meta(pattern=_SIZE.pattern, extra_json_schema={"description": "a size such as 64MiB or 1GiB"})
]
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\Z",
        extra_json_schema={"description": "a name of lower case letters, digits, '.', '_' and '-'"},
    ),
]
Method = Annotated[
    str,
    msgspec.Meta(pattern=r"\A[A-Z][A-Z-]{0,31}\Z", extra_json_schema={"description": "a method in upper case"}),
]
EffectKind = Literal["read", "write", "delete", "schema", "privilege", "execute", "session", "transfer", "unknown"]
"""Kinds of effect that a route may have."""
Speaks = Literal["", "graphql", "json-rpc"]
"""What a body may be written in, so that its own operations are the effects."""
Count = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class ControlPlaneFile(msgspec.Struct, frozen=True):
    """Where the control plane is. `public_key` pins its signing key (base64 of 32 bytes); without it the first key seen is kept."""

    url: Text
    public_key: str = ""


class Tls(msgspec.Struct, frozen=True):
    """Paths of a certificate chain and its key, PEM."""

    cert: Text
    key: Text


class ListenerFile(msgspec.Struct, frozen=True):
    """A listener with its own certificate."""

    address: Text
    tls: Tls | None = None


class LimitsFile(msgspec.Struct, frozen=True):
    """What one agent or one resource may use of one worker; 0 is no limit."""

    connections: Count = 0
    connections_per_second: Count = 0
    operations_per_second: Count = 0
    statement: Size = "1MiB"


class AllLimitsFile(msgspec.Struct, frozen=True):
    """`edge` bounds a whole worker, `agent` each agent, `resource` each resource that says nothing else."""

    edge: LimitsFile = LimitsFile(connections=20000)
    agent: LimitsFile = LimitsFile(connections=1000)
    resource: LimitsFile = LimitsFile()


class SpoolFile(msgspec.Struct, frozen=True):
    """Disk that each worker's spool may use, and the size of one of its files."""

    quota: Size = "1GiB"
    segment: Size = "64MiB"


class InjectedFile(msgspec.Struct, frozen=True):
    """A credential that is put into a header or a query parameter: `value` holds `{secret}` where the secret goes."""

    value: Text
    secret: Text
    header: str = ""
    query: str = ""


class EffectFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One effect of a route."""

    kind: EffectKind
    object: str = ""


class RouteFile(msgspec.Struct, frozen=True):
    """An operation of an HTTP API: `{name}` in the path stands for one segment, `**` at its end for the rest."""

    path: Text
    methods: tuple[Method, ...] = ()
    id: str = ""
    effects: tuple[EffectFile, ...] = ()
    speaks: Speaks = ""


class ResourceFile(msgspec.Struct, frozen=True):
    """A resource as it is written."""

    name: Name
    protocol: Text
    upstream: Text
    credential: str | InjectedFile | None = None
    labels: dict[str, str] = {}
    mode: Mode = "enforce"
    limits: LimitsFile | None = None
    routes: tuple[RouteFile, ...] = ()
    openapi: str = ""


class EdgeFile(msgspec.Struct, frozen=True):
    """edge.yaml as it is written; docs/edge.md describes each key."""

    control_plane: ControlPlaneFile
    listeners: dict[str, str | ListenerFile]
    resources: tuple[ResourceFile, ...]
    edge: str = ""
    data_dir: Text = "./data"
    hold: Duration = "300s"
    hold_in_transaction: Duration = "5s"
    policy_max_age: Duration = "1h"
    revocation_max_age: Duration = "5m"
    drain: Duration = "30s"
    durability: Literal["local", "control_plane"] = "local"
    health: str = ""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tls: Tls | None = None
    limits: AllLimitsFile = AllLimitsFile()
    spool: SpoolFile = SpoolFile()


def seconds(text: str) -> float:
    """Seconds of a duration such as `300s`, `5m` or `1h`; raise `ValueError` if it is none."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 300s, 5m or 1h")
    return int(match[1]) * _UNITS[match[2]]


def size(text: str) -> int:
    """Bytes of a size such as `64MiB`; raise `ValueError` if it is none."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 64MiB or 1GiB")
    return int(match[1]) * _SIZES[match[2] or ""]
