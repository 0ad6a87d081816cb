"""What a client may ask for when it connects, and what the edge asks of the server in its place.

Pure. The `database` of a client names the resource, or `resource/database`. Parameters stand on an allow-list, because a setting given
at startup never passes the gate: what changes the meaning of later statements (search_path, role, options beyond the list) is sent as
SET instead, where it is judged.
"""

import re
import shlex

import msgspec

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres import refusal

PINNED = {"standard_conforming_strings": "on", "client_encoding": "UTF8"}
"""The edge's parser reads only this language: a server that reports another value ends the session."""

_FORMATTING = frozenset(
    ("datestyle", "timezone", "intervalstyle", "extra_float_digits", "statement_timeout", "lock_timeout")
)
_IDENTITY = frozenset(("user", "database", "application_name", "client_encoding", "replication", "options"))
_UTF8 = frozenset(("utf8", "utf-8", "unicode"))
_SETTING = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)=(.*)", re.DOTALL)

APPLICATION_NAME_LENGTH = 63  # bytes; the server cuts longer names (NAMEDATALEN - 1)


class StartupRefusedError(Exception):
    """The client asked for something that it may not have. `code` is the SQLSTATE; the text is safe to show."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Accepted(msgspec.Struct, frozen=True):
    """What a client wants: who, which resource and database ("" for the resource's own), settings to pass on, its own name."""

    user: str
    resource: str
    database: str
    settings: dict[str, str]
    client: str
    negotiation: bytes = b""


def accept(startup: m.Startup) -> Accepted:
    """Check a StartupMessage; raise `StartupRefusedError` naming the parameter that may not stand there."""
    parameters = {name: value for name, value in startup.parameters.items() if not name.startswith("_pq_.")}
    unknown_options = [name for name in startup.parameters if name.startswith("_pq_.")]
    user = parameters.get("user", "")
    if not user:
        raise StartupRefusedError(refusal.INVALID_AUTHORIZATION, "no user name: connect as the agent")
    resource, _, database = parameters.get("database", user).partition("/")
    if parameters.get("replication", "false").lower() not in ("false", "off", "no", "0"):
        raise StartupRefusedError(refusal.FEATURE_NOT_SUPPORTED, "replication connections do not pass the gateway")
    _check_encoding(parameters.get("client_encoding", "UTF8"))
    settings: dict[str, str] = {}
    for name, value in (*parameters.items(), *_options(parameters.get("options", ""))):
        if name.lower() in _FORMATTING:
            settings[name] = value
        elif name.lower() == "client_encoding":
            _check_encoding(value)
        elif name not in _IDENTITY:
            raise StartupRefusedError(
                refusal.INSUFFICIENT_PRIVILEGE,
                f'startup parameter "{name}" is not allowed: send SET {name} after connecting, where it is judged',
            )
    negotiation = b""
    if startup.minor > m.PROTOCOL_3_2 & 0xFFFF or unknown_options:
        negotiation = m.negotiate_protocol_version(min(startup.minor, m.PROTOCOL_3_2 & 0xFFFF), unknown_options)
    return Accepted(user, resource, database, settings, parameters.get("application_name", ""), negotiation)


def _check_encoding(value: str) -> None:
    if value.strip("'\" ").lower() not in _UTF8:
        raise StartupRefusedError(refusal.FEATURE_NOT_SUPPORTED, f"client_encoding {value!r}: only UTF8 is spoken here")


def _options(options: str) -> list[tuple[str, str]]:
    """The settings of the `options` parameter: `-c name=value` and `--name=value`, nothing else."""
    try:
        words = shlex.split(options)
    except ValueError:
        raise StartupRefusedError(
            refusal.INSUFFICIENT_PRIVILEGE, "startup parameter options: unbalanced quotes"
        ) from None
    settings: list[tuple[str, str]] = []
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = words.pop(0)
        elif word.startswith("-c"):
            word = word[2:]
        elif word.startswith("--"):
            word = word[2:].replace("-", "_")
        else:
            raise StartupRefusedError(
                refusal.INSUFFICIENT_PRIVILEGE, f"startup parameter options: {word!r} is not allowed"
            )
        match = _SETTING.fullmatch(word)
        if match is None:
            raise StartupRefusedError(
                refusal.INSUFFICIENT_PRIVILEGE, f"startup parameter options: {word!r} sets nothing"
            )
        settings.append((match[1], match[2]))
    return settings


def upstream_parameters(accepted: Accepted, *, user: str, database: str, application: str) -> dict[str, str]:
    """The StartupMessage parameters that the edge sends to the server."""
    name = application.encode("ascii", "replace")[:APPLICATION_NAME_LENGTH].decode()
    return {"user": user, "database": database, **accepted.settings, "application_name": name, **PINNED}
