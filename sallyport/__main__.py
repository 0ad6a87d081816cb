"""`sallyport`: every command of the product. Exit 0 done, 1 refused or check failed, 2 bad usage.

A command's module is imported when it is used, so that help and a wrong word answer at once.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gateway_kernel.errors import SallyportError
from sallyport.output import REFUSED, fail

GROUPS = {
    "agent": ("agents", "Agents and their keys."),
    "review": ("reviews", "Operations that wait for a person."),
    "policy": ("policies", "Check, test, explain, push and compare policies."),
    "sessions": ("sessions", "Recordings of what agents did."),
    "evidence": ("evidence", "Recordings that prove themselves."),
}
"""Name of each command group -> its module, and what it is about."""
COMMANDS = {
    "up": ("up", "Run control plane and edge on this machine."),
    "edge": ("edge", "Run the edge agent beside the resources."),
    "demo": ("demo", "Show what Sallyport does on a real PostgreSQL and a real HTTP service."),
    "connect": ("connect", "Print the lines that connect an agent."),
}
"""Name of each single command -> its module, whose `run` it is, and what it does."""


class _Lazy(TyperGroup):
    """A group that knows its commands by name. Expected errors of all of them become one message and exit code 1."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys((*COMMANDS, *GROUPS))  # pyright: ignore[reportAttributeAccessIssue]  names, for suggestions

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS | GROUPS:
            return None
        name, about = (COMMANDS | GROUPS)[cmd_name]
        try:
            module = import_module(f"sallyport.{name}")
        except ModuleNotFoundError as error:
            raise fail(f"`{cmd_name}` needs {error.name}: install sallyport[demo]") from None
        if cmd_name in GROUPS:
            group = typer.main.get_group(module.app)
            group.name, group.help = cmd_name, about
            return group
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(module.run)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in (COMMANDS | GROUPS).items()])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SallyportError as error:
            raise fail(str(error), REFUSED) from None


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sallyport {version('sallyport')}")
        raise typer.Exit


@app.callback()
def sallyport(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A gateway for AI agents: what a person approved is provably what ran."""


def main() -> None:
    """Run the command line."""
    app(prog_name="sallyport")


if __name__ == "__main__":
    main()
