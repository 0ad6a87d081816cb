"""`make bench`: every benchmark, printed as a table and saved to bench/latest.json. Exit 1 if a floor does not hold."""

import argparse
import platform
import sys
import sysconfig
from pathlib import Path

import msgspec

from bench import http, postgres
from bench.ab import Row

LATEST = Path(__file__).parent / "latest.json"


def main() -> int:
    """Run all suites and report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each contender (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="seconds of each pgbench run (default 4)")
    parser.add_argument("--only", choices=("postgres", "http"), help="measure one protocol; nothing is saved then")
    asked = parser.parse_args()

    suites = {"postgres": postgres.run, "http": http.run}
    rows = [
        one for name, run in suites.items() if asked.only in (None, name) for one in run(asked.rounds, asked.seconds)
    ]
    if asked.only is None:
        LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")
    print(_interpreter())
    print(f"{'name':28} {'ratio':>7} {'goal':>6}  {'range':15} holds")
    for row in rows:
        print(_line(row))
    return 0 if all(row.holds for row in rows) else 1


def _line(row: Row) -> str:
    goal = f"{row.goal:.2f}" if row.goal else "peer"
    verdict = "yes" if row.holds else "NO"
    return f"{row.name:28} {row.ratio:7.3f} {goal:>6}  {row.low:.3f} - {row.high:.3f}   {verdict}"


def _interpreter() -> str:
    optimised = "with" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else "without"
    return f"Python {platform.python_version()} built {optimised} profile-guided optimisation, {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
