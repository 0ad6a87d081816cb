#!/usr/bin/env bash
# Sets up everything the project needs, from nothing but a shell, Python or curl, and the package registries:
# uv, Python 3.13, the locked environment in .venv, and the compiled row scanner where a C compiler is there.
# Running it again costs about a second. SALLYPORT_PYTHON names a Python 3.13 to use.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'bootstrap: %s\n' "$*" >&2; }

is_313() { [ -x "$1" ] && "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1; }

find_uv() {
  if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then command -v uv; return; fi
  if [ ! -x .tools/uv/bin/uv ]; then
    local python
    for python in python3 python3.13 python3.12 python3.11 python; do
      command -v "$python" >/dev/null 2>&1 || continue
      say "installing uv into .tools/uv"
      if "$python" -m venv .tools/uv >/dev/null 2>&1 && .tools/uv/bin/pip install --quiet --disable-pip-version-check uv >&2; then break; fi
      rm -rf .tools/uv
      mkdir -p .tools/uv/bin
      if "$python" -m pip install --quiet --disable-pip-version-check --target .tools/uv/lib uv >&2; then
        ln -sf ../lib/bin/uv .tools/uv/bin/uv
        break
      fi
    done
  fi
  if [ ! -x .tools/uv/bin/uv ]; then
    say "uv is not to be had here. Install it (https://docs.astral.sh/uv/) or a Python 3 with pip, and run this again."
    exit 1
  fi
  echo "$PWD/.tools/uv/bin/uv"
}

# A version that pyenv holds but has not made global fails through its shim, so its own path is tried first.
find_python() {
  local candidate
  for candidate in "${SALLYPORT_PYTHON:-}" "$HOME"/.pyenv/versions/3.13*/bin/python "$(command -v python3.13 || true)"; do
    if [ -n "$candidate" ] && is_313 "$candidate"; then echo "$candidate"; return; fi
  done
  say "no Python 3.13 here: fetching one"
  if "$1" python install --quiet 3.13 >&2; then echo 3.13; return; fi
  say "Python 3.13 could not be fetched. Install it (pyenv install 3.13, or your distribution's package), or set SALLYPORT_PYTHON."
  exit 1
}

uv=$(find_uv)
if is_313 .venv/bin/python; then python=.venv/bin/python; else python=$(find_python "$uv"); fi
"$uv" sync --quiet --locked --all-groups --all-extras --python "$python"

# A PostgreSQL with TLS is the distribution's. Without one, and without the right to install it, the packaged build serves.
if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  say "installing PostgreSQL from the distribution"
  apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >&2
fi

if [ -f tools/build_scanner.py ]; then
  if command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1; then
    .venv/bin/python tools/build_scanner.py >&2
  else
    say "no C compiler: masked bulk reads use the slower scanner"
  fi
fi
