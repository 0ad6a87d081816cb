"""`sallyport demo`: the main job on real traffic, in under a minute, every step asserted against the upstreams' own journals.

Two acts behind one edge under one policy: a database, then an HTTP service. A scripted agent talks to each with an ordinary client; a scripted
approver decides. After each step the upstream's own journal says what really arrived: the demo believes that, not us, and ends 1 if anything
differs.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sallyport.demo.database import DatabaseAct
from sallyport.demo.ending import Ending
from sallyport.demo.service import ServiceAct
from sallyport.demo.shop import AGENT, APPROVER, DATABASE, SERVICE, Shop, shop
from sallyport.demo.stage import DemoFailedError, Stage
from sallyport.local_http import running_http
from sallyport.local_postgres import running_postgres
from sallyport.output import REFUSED, JsonFlag, console, emit, fail

__all__ = ["AGENT", "APPROVER", "DATABASE", "SERVICE", "Shop", "run", "running_http", "running_postgres", "shop"]

NAME = "demo"
CAPTURED = 110  # columns of the drawing


def run(
    keep: Annotated[Path | None, typer.Option(help="Keep recordings and logs in this directory.")] = None,
    capture: Annotated[Path | None, typer.Option(help="Draw what is printed as an SVG in this file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show allow, mask, block, rewrite, wait, approve, deny, replay and verify on a real PostgreSQL and a real HTTP service."""
    with contextlib.ExitStack() as stack:
        home = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sallyport-demo-")))
        postgres, service = stack.enter_context(running_postgres()), stack.enter_context(running_http())
        found = stack.enter_context(shop(home, postgres, service))
        quiet = stack.enter_context(Path(os.devnull).open("w")) if as_json else None
        drawn = Console(record=True, width=CAPTURED, highlight=False, file=quiet)
        screen = drawn if capture or as_json else console
        stage = Stage(found.stack, screen)
        try:
            acts = (DatabaseAct(stage, found), ServiceAct(stage, found))
            for act in acts:
                act.play()
            Ending(stage, [secret for act in acts for secret in act.secrets()]).play()
        except DemoFailedError as error:
            raise fail(f"the demo failed: {error}", REFUSED) from None
        if capture:
            screen.save_svg(str(capture), title="sallyport demo")
        emit({"steps": stage.steps}, as_json=as_json, text=["", f"All {len(stage.steps)} steps hold."])
