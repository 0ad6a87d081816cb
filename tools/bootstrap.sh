#!/usr/bin/env bash
# Sets up everything the project needs, from nothing but a shell, Python or curl, and the package registries:
# uv, Python 3.13, the locked environment in .venv, PostgreSQL, and the compiled row scanner where a C compiler is there.
# Running it again costs about a second. SALLYPORT_PYTHON names a Python 3.13 to use.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME:-$PWD/.tools/home}
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_NATIVE_TLS=${UV_NATIVE_TLS:-1}  # companies have certificate authorities of their own

say() { printf 'bootstrap: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
works() { [ -x "$1" ] && "$1" --version >/dev/null 2>&1; }
is_313() { [ -x "$1" ] && "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1; }
may_install() { [ "$(id -u)" = 0 ] && have apt-get; }
apt_install() { apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2; }

# -- uv: what is there, else from the package index by any Python, else by its own installer ---------------------------

uv_by_python() {
  local python
  for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do
    have "$python" || continue
    rm -rf .tools/uv
    if "$python" -m venv .tools/uv >/dev/null 2>&1 && .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2; then return; fi
    # Without ensurepip (Debian without python3-venv) pip may still be there.
    rm -rf .tools/uv && mkdir -p .tools/uv/bin
    if "$python" -m pip install --quiet --disable-pip-version-check --target .tools/uv/lib uv >&2 2>/dev/null; then
      ln -sf ../lib/bin/uv .tools/uv/bin/uv
      return
    fi
  done
  return 1
}

uv_by_installer() {
  local url=https://astral.sh/uv/install.sh script=.tools/uv-install.sh
  mkdir -p .tools
  if have curl; then curl -fsSL --max-time 60 "$url" -o "$script" || return 1
  elif have wget; then wget -q -T 60 "$url" -O "$script" || return 1
  else return 1; fi
  UV_INSTALL_DIR="$PWD/.tools/uv/bin" INSTALLER_NO_MODIFY_PATH=1 sh "$script" >&2
}

find_uv() {
  local candidate ours=$PWD/.tools/uv/bin/uv
  for candidate in "$(command -v uv || true)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" "$ours"; do
    if works "$candidate"; then echo "$candidate"; return; fi
  done
  say "installing uv into .tools/uv"
  uv_by_python || uv_by_installer || { may_install && apt_install python3-venv && uv_by_python; } || true
  if ! works "$ours"; then
    rm -rf .tools/uv
    say "uv cannot be installed: neither a Python with venv or pip, nor curl or wget to https://astral.sh/uv was of use."
    say "Install uv (https://docs.astral.sh/uv/) or your distribution's python3-venv, and run this again."
    exit 1
  fi
  echo "$ours"
}

# -- Python 3.13: what is there, else fetched by uv, else the distribution's --------------------------------------------

# A version that pyenv holds but has not made global fails through its shim, so its own path is tried first.
find_python() {
  local candidate
  if [ -n "${SALLYPORT_PYTHON:-}" ] && ! is_313 "$SALLYPORT_PYTHON"; then
    say "SALLYPORT_PYTHON is $SALLYPORT_PYTHON, which does not run as a Python 3.13."
    exit 1
  fi
  for candidate in "${SALLYPORT_PYTHON:-}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python /root/.pyenv/versions/3.13*/bin/python \
    "$(command -v python3.13 || true)" /usr/bin/python3.13 /usr/local/bin/python3.13; do
    if [ -n "$candidate" ] && is_313 "$candidate"; then echo "$candidate"; return; fi
  done
  say "no Python 3.13 here: fetching one"
  if "$1" python install --no-progress 3.13 >&2; then echo 3.13; return; fi
  if may_install && apt_install python3.13 python3.13-dev; then echo /usr/bin/python3.13; return; fi
  say "Python 3.13 could not be fetched. Install it (pyenv install 3.13, or your distribution's package), or set SALLYPORT_PYTHON."
  exit 1
}

uv=$(find_uv)
if is_313 .venv/bin/python; then python=.venv/bin/python; else python=$(find_python "$uv"); fi
"$uv" sync --quiet --locked --all-groups --all-extras --python "$python"

# A PostgreSQL with TLS is the distribution's. Without one, and without the right to install it, the packaged build serves.
if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && may_install; then
  say "installing PostgreSQL from the distribution"
  apt_install postgresql || say "PostgreSQL cannot be installed from the distribution: the packaged build serves, without TLS"
fi

if have cc || have gcc; then
  .venv/bin/python tools/build_extensions.py --quiet >&2 || say "the compiled parts cannot be built here: the edge runs without them, slower"
else
  say "no C compiler: the edge runs without its compiled parts, slower"
fi
