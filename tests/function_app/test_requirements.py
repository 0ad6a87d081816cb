"""What is deployed is what was tested: pins, settings and the review's diagram agree with the code and the lock file."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from function_app.access import ROUTES
from function_app.orchestrators.adjudicate import VERSIONS
from function_app.review_diagram import diagram
from function_app.settings import VARIABLES, SettingsError, read
from tests.support.control_plane_process import ROOT

OURS = ("function_app", "gateway_kernel")
PACKAGES = {
    "azure": "azure-functions",
    "google": "protobuf",
    "graphql": "graphql-core",
    "re2": "google-re2",
    "yaml": "pyyaml",
}
"""Where the import's name is not the package's."""


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_pin_is_the_locked_version():
    """A deployment gets the versions that the tests ran with."""
    locked = {one["name"]: one.get("version") for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert {name: locked.get(name) for name in pins()} == pins()


def test_everything_imported_is_pinned():
    """Nothing that the app imports is left to chance."""
    imported: set[str] = set()
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    imported.add(node.module.split(".")[0])
    wanted = {
        PACKAGES.get(name, name.replace("_", "-")) for name in imported - set(sys.stdlib_module_names) - set(OURS)
    }
    assert wanted <= set(pins())


def test_every_setting_is_documented_and_every_documented_setting_exists():
    """docs/settings.md is the list that operators read; the code is what holds."""
    section = (ROOT / "docs" / "settings.md").read_text().split("## Control plane", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(SALLYPORT_\w+)`", section, re.MULTILINE)) == set(VARIABLES)
    read_by_code = set(re.findall(r'"(SALLYPORT_\w+)"', (ROOT / "function_app" / "settings.py").read_text()))
    read_by_code |= set(re.findall(r'"(SALLYPORT_\w+)"', (ROOT / "function_app" / "failpoints.py").read_text()))
    assert read_by_code == set(VARIABLES)


def test_every_route_is_documented_with_its_roles():
    """docs/control-plane.md lists what access.ROUTES says."""
    text = (ROOT / "docs" / "control-plane.md").read_text()
    documented = {
        (method, path): roles
        for method, path, roles in re.findall(r"^\| (\w+) \| `/(.*?)` \| (.*?) \|", text, re.MULTILINE)
    }
    wanted = {
        (route.method, route.path.replace(":int", "")): ", ".join(sorted(route.roles)) or "open" for route in ROUTES
    }
    assert documented == wanted


def test_the_documented_diagram_is_the_transition_table():
    """`python -m function_app.review_diagram` prints it."""
    assert diagram() in (ROOT / "docs" / "reviews.md").read_text()


def test_host_json_starts_new_instances_under_a_version_that_the_orchestration_knows():
    """A version without a branch would fail every new review."""
    version = re.search(r'"defaultVersion": "(.*?)"', (ROOT / "host.json").read_text())
    assert version is not None
    assert version[1] == list(VERSIONS)[-1]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SALLYPORT_DATA_DIR", "", "is not set"),
        ("SALLYPORT_STORE", "postgres://x", "use sqlite"),
        ("SALLYPORT_PUBLIC_URL", "sallyport.example", "is not an http"),
        ("SALLYPORT_BOOTSTRAP_ADMIN_KEY", "spm_short", "32 further characters"),
        ("SALLYPORT_GRANT_LIFETIME", "-1", "whole number"),
        ("SALLYPORT_NOTIFIERS", "log,pigeon", "'pigeon' is not a notifier"),
        ("SALLYPORT_NOTIFIERS", "webhook", "SALLYPORT_WEBHOOK_URL is not set"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_should_be(name: str, value: str, says: str):
    """Startup says which variable, and never shows the value of a secret."""
    with pytest.raises(SettingsError, match=says) as caught:
        read({"SALLYPORT_DATA_DIR": "/tmp/x"} | {name: value})
    assert name in str(caught.value)
    assert "spm_short" not in str(caught.value)


def test_an_app_without_settings_can_be_indexed_and_says_what_is_missing(tmp_path: Path):
    """The worker lists its functions at deployment, before anybody configured it."""
    program = (
        "import asyncio, azure.functions as func\n"
        "from function_app import app, access\n"
        "route = next(one for one in access.ROUTES if one.name == 'health')\n"
        "request = func.HttpRequest('GET', 'http://x/health', body=b'')\n"
        "async def never(call): raise AssertionError\n"
        "reply = asyncio.run(access._answer(route, never, request, None))\n"
        "print(len(app.get_functions()) > 40, reply.status_code)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SALLYPORT_")}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.split() == ["True", "503"]
    assert not list(tmp_path.iterdir())
