"""`python -m embedded_host --app . --port 7071 --data DIR`: serve one app until SIGTERM or SIGINT.

Prints `ready http://127.0.0.1:PORT` when it serves; everything else goes to the log on stderr. Exit status 0 after a
clean stop, 1 where the app or the data cannot be used or the disk failed, 2 for bad usage.
"""

import argparse
import asyncio
import logging
import signal
import sqlite3
import sys
from pathlib import Path

from embedded_host.host import Host
from embedded_host.worker import AppError


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser("python -m embedded_host", description="An Azure Functions app on one machine.")
    parser.add_argument("--app", type=Path, default=Path(), help="directory of host.json and function_app.py")
    parser.add_argument("--data", type=Path, required=True, help="directory for durable state and keys")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, default=7071, help="0 lets the system choose")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    given = parser.parse_args()
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=given.log_level, stream=sys.stderr, format=form)
    try:
        asyncio.run(_serve(Host(given.app, given.data, given.port, given.host)))
    except (AppError, ValueError, OSError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(host: Host) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await host.start()
    try:
        print(f"ready {host.url}", flush=True)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([stopped, host.failed], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
    finally:
        await host.stop()
    if host.failed.done():
        host.failed.result()


if __name__ == "__main__":
    sys.exit(main())
