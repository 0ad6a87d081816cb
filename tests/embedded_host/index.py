"""`python -m tests.embedded_host.index APP`: index an app with the real worker and print its functions as JSON.

A process of its own, since the worker library takes one app per process.
"""

import asyncio
import json
import sys
from pathlib import Path

from embedded_host.worker import AppError, Worker


async def main(app: Path) -> int:
    """Exit status 1, and the reason, where the app is refused."""
    worker = Worker(app, time_limit=10)
    try:
        await worker.load()
    except AppError as error:
        print(error)
        return 1
    print(json.dumps(sorted(worker.functions)))
    worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]).resolve())))
