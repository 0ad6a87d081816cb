"""Runs the app's timer functions when they are due.

One task for each function, so a function never overlaps itself. When it ran and is due is kept on the disk: a due
time that passed while the host was down is made up once, with `past_due` set, as Azure's host does with
`use_monitor`. A function that raises is logged and due again at its next time.
"""

import asyncio
import json
import os
import re
from datetime import datetime

from embedded_host.alarm import Alarm, utcnow
from embedded_host.backend import DurableBackend
from embedded_host.messages import TypedData
from embedded_host.schedule import Schedule, parse_schedule
from embedded_host.worker import AppError, Function, FunctionFailed, Worker

SETTING = re.compile(r"%([^%]+)%")


class TimerTriggers:
    """The timer functions of one app. `run` is also the manual trigger's way in."""

    def __init__(self, worker: Worker, backend: DurableBackend, client: str) -> None:
        """Parses every schedule. Raises AppError for one that cannot be read."""
        self._worker, self._backend, self._client = worker, backend, client
        timers = [one for one in worker.functions.values() if one.kind == "timerTrigger"]
        self._schedules = {one.name: _schedule(one) for one in timers}
        self._functions = {one.name: one for one in timers}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to wait for due times."""
        remembered = self._backend.schedules()
        for name, function in self._functions.items():
            self._tasks.append(asyncio.create_task(self._keep(function, remembered.get(name)), name=f"timer {name}"))

    async def stop(self) -> None:
        """Start nothing more and cut short what runs: its due time is still on the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, function: Function, remembered: tuple[datetime | None, datetime] | None) -> None:
        schedule = self._schedules[function.name]
        last, due = remembered or (None, schedule.after(utcnow()))
        monitored = function.trigger.get("useMonitor", True)
        if remembered and not (monitored and due < utcnow()):
            due = schedule.after(utcnow())  # the expression may be another than the one that was remembered
        if function.trigger.get("runOnStartup", False):
            await self.run(function.name, last, past_due=False)
        while True:
            self._backend.put_schedule(function.name, last, due)
            late = due < utcnow()
            await _until(due)
            await self.run(function.name, last, past_due=late)
            last, due = due, schedule.after(max(due, utcnow()))

    async def run(self, name: str, last: datetime | None = None, *, past_due: bool = False) -> bool:
        """Run one timer function now; False where it raised. Raises KeyError for a name that is no timer."""
        function, schedule = self._functions[name], self._schedules[name]
        due = schedule.after(utcnow())
        status = {"Last": (last or utcnow()).isoformat(), "Next": due.isoformat(), "LastUpdated": utcnow().isoformat()}
        given = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due}
        try:
            await self._worker.invoke(function, TypedData(json=json.dumps(given)), self._client)
        except FunctionFailed as failed:
            failed.log(f"timer function {name}")
            return False
        return True


async def _until(when: datetime) -> None:
    rang = asyncio.Event()
    alarm = Alarm(when, rang.set)
    try:
        await rang.wait()
    finally:
        alarm.cancel()


def _schedule(function: Function) -> Schedule:
    text = str(function.trigger.get("schedule", ""))
    for name in SETTING.findall(text):
        if name not in os.environ:
            raise AppError(f"timer function {function.name}: the app setting {name} that its schedule names is not set")
        text = text.replace(f"%{name}%", os.environ[name])
    try:
        return parse_schedule(text)
    except ValueError as error:
        raise AppError(f"timer function {function.name}: {error}") from None
