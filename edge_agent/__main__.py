"""`python -m edge_agent --config edge.yaml`: checks the settings and runs the supervisor in the foreground.

Prints one line `ready {...}` with every bound address once it serves. `--check` only checks. The key to the control
plane comes from the environment variable SALLYPORT_EDGE_KEY. Exit status: 0 stopped as asked, 1 failed, 2 bad
settings or usage.
"""

import argparse
import sys
from pathlib import Path

import msgspec
import uvloop

from edge_agent import logs
from edge_agent.process import allow_many_files
from edge_agent.protocols.registry import PROTOCOLS
from edge_agent.settings import Settings, SettingsError, edge_key, edge_name, load
from edge_agent.supervisor import Supervisor


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent", description="The Sallyport edge agent.")
    parser.add_argument(
        "--config", "-c", type=Path, default=Path("edge.yaml"), help="its settings (default: edge.yaml)"
    )
    parser.add_argument("--check", action="store_true", help="only check the settings")
    parser.add_argument("--json", action="store_true", help="print the result of --check as JSON")
    options = parser.parse_args(arguments)
    protocols = tuple(kind().name for kind in PROTOCOLS)
    try:
        settings = load(options.config, protocols)
        if not options.check:
            edge_key()
            edge_name(settings)
    except SettingsError as error:
        if options.json:
            sys.stdout.write(msgspec.json.encode({"valid": False, "problems": str(error).splitlines()}).decode() + "\n")
        else:
            sys.stderr.write(f"{error}\n")
        return 2
    if options.check:
        said = {"valid": True, "resources": [each.name for each in settings.resources]}
        text = msgspec.json.encode(said).decode() if options.json else f"{options.config}: the settings are valid"
        sys.stdout.write(text + "\n")
        return 0
    logs.configure(settings.log_level, worker="supervisor")
    allow_many_files()
    return uvloop.run(_run(settings, protocols))


async def _run(settings: Settings, protocols: tuple[str, ...]) -> int:
    return await Supervisor(settings, protocols).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
