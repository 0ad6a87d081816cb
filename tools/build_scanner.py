"""Build the optional Cython scanner beside its source. Needs the development dependencies and a C compiler.

Usage: python tools/build_scanner.py [--quiet]. Ends 0 when the extension is there and imports; 1, saying why, when not: the edge
then runs on the pure fallback, slower and with the same results. Builds only if the source is newer than the extension.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "edge_agent" / "protocols" / "postgres" / "_scan.pyx"


def build() -> Path:
    """Compile `_scan.pyx` with -O3; returns the extension's path. OSError or CalledProcessError if that fails."""
    target = SOURCE.with_name("_scan" + str(sysconfig.get_config_var("EXT_SUFFIX")))
    if target.exists() and target.stat().st_mtime >= SOURCE.stat().st_mtime:
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler (cc, gcc or clang) on PATH")
    with tempfile.TemporaryDirectory() as room:
        code, built = Path(room) / "_scan.c", Path(room) / target.name
        translate = [sys.executable, "-m", "cython", "-3", str(SOURCE), "-o", str(code)]
        include = sysconfig.get_paths()["include"]
        compile_ = [compiler, "-O3", "-fPIC", "-shared", "-fwrapv", "-w", f"-I{include}", str(code), "-o", str(built)]
        for command in (translate, compile_):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        fresh = target.with_suffix(".new")
        shutil.copy2(built, fresh)
        fresh.replace(target)  # a running edge keeps the one it has mapped
    return target


def main() -> int:
    try:
        target = build()
    except subprocess.CalledProcessError as error:
        print(f"the scanner was not built: {error.stderr.strip()[-2000:]}", file=sys.stderr)
        return 1
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"the scanner was not built: {error}", file=sys.stderr)
        return 1
    if "--quiet" not in sys.argv[1:]:
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
