"""Timer functions, in a host of their own that ticks each second."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.embedded_host.support import HostProcess, until

APP = """
import json, os
import azure.functions as func
app = func.FunctionApp()

def note(name, timer):
    with open(os.environ["TICKS"], "a") as file:
        file.write(json.dumps([name, timer.past_due]) + "\\n")

@app.timer_trigger(schedule="%TICK_SCHEDULE%", arg_name="timer")
async def tick(timer: func.TimerRequest) -> None:
    note("tick", timer)

@app.timer_trigger(schedule="* * * * * *", arg_name="timer")
def broken(timer: func.TimerRequest) -> None:
    note("broken", timer)
    raise ValueError("each time")

@app.timer_trigger(schedule="0 0 0 1 1 *", arg_name="timer", run_on_startup=True)
async def early(timer: func.TimerRequest) -> None:
    note("early", timer)
"""


async def test_timers_tick_fail_and_make_up_for_what_they_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule from a setting, one that raises each time, one at start; after a pause the first tick is past due."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "function_app.py").write_text(APP)
    (tmp_path / "app" / "host.json").write_text('{"version": "2.0"}')
    ticks = tmp_path / "ticks"
    monkeypatch.setenv("TICKS", str(ticks))
    monkeypatch.setenv("TICK_SCHEDULE", "* * * * * *")

    async def seen() -> list[list[object]]:
        return [json.loads(line) for line in ticks.read_text().splitlines()] if ticks.exists() else []

    host = HostProcess(tmp_path / "app", tmp_path / "data")
    host.start()
    before = await until(seen, lambda all_: all_.count(["tick", False]) >= 2 and all_.count(["broken", False]) >= 2)
    assert ["early", False] in before
    host.kill()
    await until(lambda: _next_due(host.data), lambda due: due < datetime.now(UTC))
    ran = len(await seen())
    host.start()
    after = await until(seen, lambda all_: "tick" in [name for name, _ in all_[ran:]])
    assert next(past_due for name, past_due in after[ran:] if name == "tick") is True
    assert host.stop() == 0


async def _next_due(data: Path) -> datetime:
    db = sqlite3.connect(data / "durable.sqlite")
    ((due,),) = db.execute("select next from schedule where name = 'tick'").fetchall()
    db.close()
    return datetime.fromtimestamp(due, UTC)
