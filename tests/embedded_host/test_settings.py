"""host.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedded_host.settings import Settings, SettingsError, read_settings
from embedded_host.versions import Versions


def written(directory: Path, document: Any) -> Path:
    """A directory with this host.json."""
    (directory / "host.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return directory


def test_what_is_known_is_read_and_the_rest_left_alone(tmp_path: Path) -> None:
    """Logging and bundles are for Azure's own host."""
    durable = {"hubName": "Sallyport", "defaultVersion": "1.2", "maxConcurrentActivityFunctions": 3, "tracing": {}}
    extensions = {"durableTask": durable, "http": {"routePrefix": "/v1/"}}
    document = {"version": "2.0", "logging": {}, "functionTimeout": "00:02:30", "extensions": extensions}
    settings = read_settings(written(tmp_path, document))
    assert (settings.route_prefix, settings.hub_name, settings.function_timeout) == ("v1", "Sallyport", 150.0)
    assert (settings.max_activities, settings.versions) == (3, Versions("1.2"))


def test_defaults_are_azures(tmp_path: Path) -> None:
    """An app that says nothing gets the prefix api and the hub TestHubName."""
    assert read_settings(written(tmp_path, {"version": "2.0"})) == Settings()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not JSON"),
        ([], "the document must be an object"),
        ({}, '"version" must be "2.0"'),
        ({"version": "2.0", "functionTimeout": "5 min"}, "functionTimeout '5 min'"),
        ({"version": "2.0", "extensions": {"durableTask": []}}, "extensions.durableTask must be an object"),
        ({"version": "2.0", "extensions": {"durableTask": {"hubName": "9"}}}, "hubName '9'"),
        ({"version": "2.0", "extensions": {"http": {"routePrefix": 1}}}, "extensions.http.routePrefix must be str"),
        ({"version": "2.0", "extensions": {"durableTask": {"versionMatchStrategy": "x"}}}, "versionMatchStrategy 'x'"),
    ],
)
def test_an_error_says_what_and_where(tmp_path: Path, document: Any, says: str) -> None:
    """File and key."""
    with pytest.raises(SettingsError) as error:
        read_settings(written(tmp_path, document))
    assert says in str(error.value)
    assert str(tmp_path / "host.json") in str(error.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """--app."""
    with pytest.raises(SettingsError, match="--app names the directory"):
        read_settings(tmp_path)
