"""Indexing with the real worker library: the layout trap, and that an empty index is never a success."""

import json
import subprocess
import sys
from pathlib import Path

from tests.embedded_host.support import PATIENCE

APP = """
import azure.functions as func
import azure.durable_functions as df
app = df.DFApp()
{more}
@app.route(route="one")
async def one(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("1")
@app.orchestration_trigger(context_name="context")
def two(context: df.DurableOrchestrationContext):
    yield
"""
MARKER = 'raise RuntimeError("the marker is never executed: the package is found first")\n'


def package(directory: Path, more: str = "", marker: str | None = MARKER) -> Path:
    """An app of the product's layout: a package function_app/, and the marker beside host.json."""
    (directory / "function_app").mkdir()
    (directory / "function_app" / "app.py").write_text(APP.format(more=more))
    (directory / "function_app" / "__init__.py").write_text("from .app import app\n")
    (directory / "host.json").write_text('{"version": "2.0"}')
    if marker is not None:
        (directory / "function_app.py").write_text(marker)
    return directory


def index(app: Path) -> tuple[int, str]:
    """Exit status and output of indexing it in a fresh process."""
    command = [sys.executable, "-m", "tests.embedded_host.index", str(app)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout.strip()


def test_a_package_is_indexed_where_its_marker_stands_beside_it(tmp_path: Path) -> None:
    """Every function, and the marker itself is never run."""
    status, told = index(package(tmp_path))
    assert status == 0, told
    assert [name for name in json.loads(told) if not name.startswith("BuiltIn__")] == ["one", "two"]


def test_without_the_marker_the_app_is_refused(tmp_path: Path) -> None:
    """The worker itself would report success with no functions."""
    status, told = index(package(tmp_path, marker=None))
    assert status == 1
    assert "function_app.py is missing" in told


def test_a_second_app_object_is_refused(tmp_path: Path) -> None:
    """The worker's own words come through."""
    app = package(tmp_path)
    (app / "function_app" / "__init__.py").write_text("from .app import app\nother = app\n")
    status, told = index(app)
    assert status == 1
    assert "More than one" in told


def test_an_app_that_fails_to_import_is_refused_with_its_reason(tmp_path: Path) -> None:
    """A module that is not installed."""
    status, told = index(package(tmp_path, more="import no_such_module"))
    assert status == 1
    assert "no_such_module" in told


def test_an_app_without_functions_is_refused(tmp_path: Path) -> None:
    """An empty index is no success."""
    (tmp_path / "function_app.py").write_text("import azure.functions as func\napp = func.FunctionApp()\n")
    status, told = index(tmp_path)
    assert status == 1
    assert "no function was found" in told
