"""`sallyport`: every command of the product. Exit 0 done, 1 refused or check failed, 2 bad usage."""

import typer

from gateway_kernel.errors import SallyportError
from sallyport import agents, connect, demo, edge, evidence, policies, reviews, sessions, up
from sallyport.client import ControlPlaneError
from sallyport.output import REFUSED, errors, visible

app = typer.Typer(
    help="A gateway for AI agents: what a person approved is provably what ran.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (agents, reviews, policies, sessions, evidence):
    app.add_typer(group.app, name=group.NAME)
for command in (up, edge, demo, connect):
    app.command(command.NAME)(command.run)


def main() -> None:
    """Run the command line; expected errors become one line on stderr and exit code 1."""
    try:
        app()
    except (ControlPlaneError, SallyportError) as error:
        errors.print(f"sallyport: {visible(str(error))}", style="red", markup=False)
        raise SystemExit(REFUSED) from None


if __name__ == "__main__":
    main()
