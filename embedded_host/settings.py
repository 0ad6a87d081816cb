"""What host.json says, as far as it means something on one machine.

Known: `extensions.http.routePrefix`, `extensions.durableTask.*` (hub name, concurrency, versions) and
`functionTimeout`. Everything else in the file is for Azure's own host and is left alone.
https://learn.microsoft.com/azure/azure-functions/functions-host-json
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from embedded_host.versions import Versions

DEFAULT_TIMEOUT = 1800.0  # seconds: the default of functionTimeout outside the Consumption plan
HUB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,44}")


class SettingsError(ValueError):
    """host.json cannot be used; says the file, the key and what is expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One app's host.json. `function_timeout` is in seconds; the two limits count functions running at once."""

    route_prefix: str = "api"
    hub_name: str = "TestHubName"
    function_timeout: float = DEFAULT_TIMEOUT
    max_activities: int = 10 * (os.cpu_count() or 1)
    max_episodes: int = 10 * (os.cpu_count() or 1)
    versions: Versions = field(default_factory=Versions)


def read_settings(app_dir: Path) -> Settings:
    """Read `app_dir`/host.json. Raises SettingsError."""
    path = app_dir / "host.json"
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing; --app names the directory that holds it") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from None
    root = _Section(path, "", document)
    if root.get("version", str, "") != "2.0":
        raise SettingsError(f'{path}: "version" must be "2.0"')
    extensions = root.section("extensions")
    durable = extensions.section("durableTask")
    plain = Settings()
    hub = durable.get("hubName", str, plain.hub_name)
    if not HUB_NAME.fullmatch(hub):
        raise SettingsError(
            f"{path}: extensions.durableTask.hubName {hub!r}: 3 to 45 letters and digits, a letter first"
        )
    try:
        versions = Versions(
            durable.get("defaultVersion", str, ""),
            durable.get("versionMatchStrategy", str, plain.versions.match),
            durable.get("versionFailureStrategy", str, plain.versions.failure),
        )
    except ValueError as error:
        raise SettingsError(f"{path}: extensions.durableTask: {error}") from None
    return Settings(
        route_prefix=extensions.section("http").get("routePrefix", str, plain.route_prefix).strip("/"),
        hub_name=hub,
        function_timeout=_seconds(path, root.get("functionTimeout", str, "00:30:00")),
        max_activities=max(1, durable.get("maxConcurrentActivityFunctions", int, plain.max_activities)),
        max_episodes=max(1, durable.get("maxConcurrentOrchestratorFunctions", int, plain.max_episodes)),
        versions=versions,
    )


class _Section:
    """One object of the file; a value of the wrong type is an error that names its key."""

    def __init__(self, path: Path, at: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise SettingsError(f"{path}: {at or 'the document'} must be an object")
        self._path, self._at, self._value = path, at, cast("dict[str, Any]", value)

    def section(self, key: str) -> "_Section":
        return _Section(self._path, f"{self._at}.{key}".lstrip("."), self._value.get(key, {}))

    def get[T](self, key: str, kind: type[T], default: T) -> T:
        value = self._value.get(key, default)
        if not isinstance(value, kind):
            raise SettingsError(f"{self._path}: {self._at}.{key} must be {kind.__name__}".replace(" .", " "))
        return value


def _seconds(path: Path, text: str) -> float:
    """A TimeSpan hh:mm:ss; -1 asks for no limit and gets a day, since nothing here waits for ever."""
    if text == "-1":
        return 86_400.0
    match = re.fullmatch(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})", text)
    if match is None:
        raise SettingsError(f"{path}: functionTimeout {text!r} is not hh:mm:ss")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
