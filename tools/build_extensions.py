"""Build the optional compiled parts beside their sources. Needs the development dependencies and a C compiler.

Usage: python tools/build_extensions.py [--quiet] [--remove]. Ends 0 when all are there; 1, saying why, when not: the edge then runs without
any of them, slower and with the same results. Builds what is older than its sources; `--remove` takes all away.

`.pyx` files are compiled code alone. The `.py` files are compiled as they are, so that the others reach their state as C; an extension
is imported instead of the source beside it, so one that is left from another version of the source is never kept.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "gateway_kernel/chain.py": "-O2",
    "edge_agent/spool.py": "-O2",
    "edge_agent/_repeat.pyx": "-O2",
    "edge_agent/_way.pyx": "-O2",
    "edge_agent/protocols/postgres/_turns.pyx": "-O2",
    "edge_agent/protocols/http/_rounds.pyx": "-O2",
    "edge_agent/protocols/postgres/_scan.pyx": "-O3",  # loops over bytes: they gain from it
}
"""What is compiled, and how hard the C compiler tries."""

SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


def target_of(source: str) -> Path:
    """Where the extension of this source stands."""
    path = ROOT / source
    return path.with_name(path.stem + SUFFIX)


def build() -> None:
    """Compile what is not newer than everything that it may be made of. OSError or CalledProcessError, and no extension at all, if one fails."""
    newest = max(path.stat().st_mtime for source in SOURCES for path in _inputs(ROOT / source))
    stale = [
        source for source in SOURCES if not target_of(source).exists() or target_of(source).stat().st_mtime < newest
    ]
    if not stale:
        return
    remove()  # also where nothing can be built: one extension calls another's C: they are of one version, or none is there
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(_compile, SOURCES))
    except BaseException:
        remove()
        raise


def remove() -> None:
    """Take all extensions away."""
    for source in SOURCES:
        target_of(source).unlink(missing_ok=True)


def _inputs(source: Path) -> list[Path]:
    declared = source.with_suffix(".pxd")
    return [source, Path(__file__), *([declared] if declared.exists() else [])]


def _compile(source: str) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler (cc, gcc or clang) on PATH")
    target = target_of(source)
    with tempfile.TemporaryDirectory() as room:
        code, built = Path(room) / "code.c", Path(room) / target.name
        directives = ["-X", "annotation_typing=False", "-X", "binding=False"]
        translate = [sys.executable, "-m", "cython", "-3", *directives, source, "-o", str(code)]
        include = sysconfig.get_paths()["include"]
        options = [SOURCES[source], "-fPIC", "-shared", "-fwrapv", "-DNDEBUG", "-w", f"-I{include}"]
        compile_ = [compiler, *options, str(code), "-o", str(built), "-ldl"]
        for command in (translate, compile_):
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
        fresh = target.with_suffix(".new")
        shutil.copy2(built, fresh)
        fresh.replace(target)  # a running edge keeps the one it has mapped


def main() -> int:
    """Build, and say what stands in the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="say nothing when it went well")
    parser.add_argument("--remove", action="store_true", help="take the compiled parts away, so that the sources run")
    asked = parser.parse_args()
    if asked.remove:
        remove()
        return 0
    try:
        build()
    except subprocess.CalledProcessError as error:
        print(f"the compiled parts were not built: {error.stderr.strip()[-2000:]}", file=sys.stderr)
        return 1
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"the compiled parts were not built: {error}", file=sys.stderr)
        return 1
    if not asked.quiet:
        print(*map(target_of, SOURCES), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
