"""`python -m tests.embedded_host.every_commit DIR`: take a journey up again from the state after each of its commits.

A process of its own, since the worker library takes one app per process. The journey runs once, with a copy of the
store's files made after every commit: that is what a kill leaves anywhere between that commit and the next. Then
each copy is opened as a restart would open it, and the journey must end as the undisturbed one. Prints, as JSON, how
each ended.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import override

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf import wrappers_pb2

from embedded_host import backend as backend_module
from embedded_host.backend import DurableBackend
from embedded_host.dispatch import Catalogue, Dispatcher
from embedded_host.durable_store import DurableStore, Statement
from embedded_host.versions import Versions
from embedded_host.worker import Worker
from tests.embedded_host.support import CONFORMANCE_APP, PATIENCE

ID = "journey"


class Copied(DurableStore):
    """A store that leaves a copy of its files after each commit."""

    directory: Path
    copies = 0

    @override
    def commit(self, batch: list[Statement]) -> None:
        super().commit(batch)
        if batch:
            target = self.directory / f"copy-{Copied.copies:03}"
            target.mkdir()
            for file in self.directory.glob("first.sqlite*"):
                shutil.copy(file, target)
            Copied.copies += 1


async def journey(worker: Worker, path: Path) -> dict[str, object]:
    """Open the store, start the journey if it is not there, wait for its end."""
    catalogue = Catalogue()
    catalogue.take(worker.functions)
    dispatcher = Dispatcher(worker, catalogue, activities=4, episodes=4)
    backend = dispatcher.backend = DurableBackend(path, Versions(), dispatcher.submit)
    backend.open()
    if not (await backend.call("GetInstance", pb.GetInstanceRequest(instanceId=ID))).exists:
        given = wrappers_pb2.StringValue(value=json.dumps({"left": 2, "total": []}))
        await backend.call("StartInstance", pb.CreateInstanceRequest(instanceId=ID, name="journey", input=given))
    ended = await backend.wait_until(ID, backend.is_terminal, PATIENCE)
    output = backend.find(ID).output if ended else None
    read = await backend.call("GetEntity", pb.GetEntityRequest(instanceId=f"@counter@{ID}", includeState=True))
    await backend.close()
    await dispatcher.drain(PATIENCE)
    return {"output": json.loads(output or "null"), "counter": read.entity.serializedState.value}


async def main(directory: Path) -> None:
    """Once undisturbed, then once from each copy."""
    worker = Worker(CONFORMANCE_APP, PATIENCE)
    await worker.load()
    Copied.directory = directory
    backend_module.DurableStore = Copied
    await journey(worker, directory / "first.sqlite")
    backend_module.DurableStore = DurableStore
    copies = [directory / f"copy-{n:03}" / "first.sqlite" for n in range(Copied.copies)]
    print(json.dumps([await journey(worker, copy) for copy in copies]))
    worker.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
