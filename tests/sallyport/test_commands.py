"""Every command of the product: it is there, it takes `--json`, it is described, and wrong usage ends 2."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from sallyport.__main__ import app
from tests.sallyport.conftest import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text()
PROMISED = """up, edge, demo, connect, agent add, agent list, agent revoke, review list, review show, review approve, review deny,
policy check, policy test, policy explain, policy push, policy diff, sessions list, sessions show, sessions replay, sessions export,
evidence verify"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its words."""
    root: Any = typer.main.get_command(app)
    for name in root.list_commands(None):
        command = root.get_command(None, name)
        if not hasattr(command, "list_commands"):
            yield name, command
            continue
        for each in command.list_commands(None):
            yield f"{name} {each}", command.get_command(None, each)


COMMANDS = dict(commands())


def test_all_promised_commands_are_there():
    """Those of the public contract, and no other."""
    assert set(COMMANDS) == {" ".join(each.split()) for each in PROMISED.split(",")}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_described(name: str):
    """Its section of docs/commands.md names each argument and option; only `--json` and `--help` are described once for all."""
    section = re.search(rf"^##+ `sallyport {name}[ `].*?(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    for parameter in COMMANDS[name].params:
        for option in parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]:
            assert option == "--json" or f"`{option}`" in section[0], f"{name} {option}"


@pytest.mark.parametrize("name", COMMANDS)
def test_it_takes_json_and_explains_itself(name: str):
    """`--json` everywhere; `--help` ends 0."""
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}
    said = run(*name.split(), "--help")
    assert (said.code, "--json" in said.out) == (0, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_usage_ends_2(name: str):
    """An unknown option, with the word that is wrong."""
    said = run(*name.split(), "--no-such-option")
    assert (said.code, said.out) == (2, "")
    assert "--no-such-option" in said.error


@pytest.mark.parametrize(
    "words", [["polcy"], ["policy", "explane"], ["agent", "add"], ["review", "approve"], ["edge", "extra"]]
)
def test_wrong_words_end_2(words: list[str]):
    """Unknown commands and missing or superfluous arguments."""
    assert run(*words).code == 2


def test_no_command_prints_help():
    """Without a word, all commands are listed."""
    said = run()
    assert all(name.split()[0] in said.out + said.error for name in COMMANDS)


def test_version():
    """The release that is installed."""
    assert run("--version").out == f"sallyport {version('sallyport')}\n"


def test_help_imports_no_engine():
    """Help answers at once: neither parser, nor drivers, nor the web client are loaded for it."""
    code = """
import sys
from sallyport.__main__ import app
try:
    app(["--help"])
except SystemExit as ended:
    assert ended.code == 0
heavy = {"httpx", "psycopg", "postgast", "cel_expr_python", "aiohttp", "azure", "uvloop", "cryptography"} & set(sys.modules)
assert not heavy, heavy
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60).returncode == 0


def test_edge_checks_its_settings(tmp_path: Path):
    """The example is valid; a typo is named with line and nearest key. The edge replaces the process, so it is one of its own."""

    def check(config: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sallyport", "edge", "--config", str(config), "--check", *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    example = ROOT / "examples" / "edge.yaml"
    assert check(example).returncode == 0
    assert '"valid":true' in check(example, "--json").stdout
    typo = tmp_path / "edge.yaml"
    typo.write_text(example.read_text().replace("data_dir:", "data_dirr:"))
    said = check(typo)
    assert said.returncode == 2
    assert "did you mean 'data_dir'" in said.stderr
