# shellcheck shell=bash
# Sourced by run.sh, test.sh and .ci/run. `environment [FILE ...]` makes .venv at the repository's root on
# first use, installs the package as `.venv/bin/autoloss`, what it needs and the named requirements files
# into it, in the versions of requirements.lock, and sets `python` to its interpreter. uv installs where it
# is there, else pip. A later call with nothing changed only compares a stamp. JAX_VERSION=0.10 holds JAX to
# that series, in versions of its own; PYTHON names the interpreter to build on.

repo=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$repo/.venv
python=$venv/bin/python
stamp=$venv/stamp # what is installed, written last; empty: an install has begun and not finished
lock=$repo/requirements.lock
base=             # the Python that .venv is built on, once looked for
files=()

say() { printf 'launch: %s\n' "$*" >&2; }

stop() {
  say "$*"
  exit 2
}

# The real path of command $1 if it runs and serves; status 3: too old, 4: cannot make environments.
probe() {
  "$1" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null
}

find_python() {
  local candidate lacking='' candidates=(python3.12 python3.11 python3)
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
  for candidate in "${candidates[@]}"; do
    base=$(probe "$candidate") && return
    if [ $? -eq 4 ]; then lacking=$candidate; fi
  done
  if [ -n "$lacking" ]; then
    stop "$lacking has no venv or ensurepip module: install it (Debian, Ubuntu: the package python3-venv)," \
      "or set PYTHON to another Python >= 3.11"
  fi
  stop "no Python >= 3.11 that runs (tried ${candidates[*]}): install one, or set PYTHON to its path"
}

# What the stamp of an environment must hold: the Python of command $1, the held JAX, the content of each
# file that says what is installed.
wanted() {
  "$1" -I -c '
import hashlib, os, sys
print("python", sys.version.split()[0])
print("jax", sys.argv[1])
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        print(hashlib.sha256(file.read()).hexdigest(), os.path.basename(path))
' "${JAX_VERSION:-any}" "$repo/pyproject.toml" "$repo/setup.py" "$lock" "${files[@]}"
}

current() {
  local lines
  [ -s "$stamp" ] && lines=$(wanted "$python" 2>/dev/null) && ! grep -qvxFf "$stamp" <<<"$lines" && on_base
}

# True unless another Python was asked for than the one .venv has.
on_base() {
  [ -z "$base" ] || [ "$("$base" -V)" = "$("$python" -V)" ]
}

nvidia_driver() {
  [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1
}

# True if .venv holds an interpreter to install into: finished, new enough, and the one PYTHON asks for.
usable() {
  if [ -e "$stamp" ] && [ ! -s "$stamp" ]; then return 1; fi
  probe "$python" >/dev/null && on_base
}

install() {
  local file installer=("$python" -m pip install --disable-pip-version-check) arguments=(--editable "$repo")
  if ! usable; then
    if [ -e "$venv/pyvenv.cfg" ] && [ ! -e "$stamp" ]; then
      stop "$venv was not made by launch/ and its Python does not serve: move it away, then run this again"
    fi
    if [ -z "$base" ]; then find_python; fi
    say "building $venv on $("$base" -V) ($base)"
    find "$venv/" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
    : >"$stamp"
    "$base" -m venv "$venv"
  elif [ -e "$stamp" ]; then
    : >"$stamp"
  fi
  for file in "${files[@]}"; do arguments+=(-r "$file"); done
  if [ -n "${JAX_VERSION:-}" ]; then arguments+=("jax==$JAX_VERSION.*"); else arguments+=(--constraint "$lock"); fi
  if [ ! -t 2 ]; then arguments+=(--quiet); fi
  if command -v uv >/dev/null; then installer=(uv pip install --python "$python"); fi
  say "installing $1; this takes minutes, once"
  if ! "${installer[@]}" "${arguments[@]}" >&2; then
    say "the install failed (why is said above); the next call starts it again"
    exit 1
  fi
  wanted "$python" >"$stamp.new"
  mv -f "$stamp.new" "$stamp"
}

environment() {
  local file what='JAX for CPU (no NVIDIA driver here), about 1.1 GB on disk'
  files=("$repo/requirements-cpu.txt")
  if nvidia_driver; then
    what='JAX for NVIDIA GPUs (a driver is here), about 6 GB on disk, 3 GB to download'
    files+=("$repo/requirements.txt")
  fi
  for file in "$@"; do files+=("$repo/$file"); done
  if [ -n "${PYTHON:-}" ] || [ ! -x "$python" ]; then find_python; fi
  if current; then return; fi
  mkdir -p "$venv"
  if command -v flock >/dev/null; then
    exec 9>>"$venv/lock"
    if ! flock -n 9; then
      say "waiting for another install into $venv"
      flock 9
    fi
  fi
  if ! current; then install "$what"; fi
  exec 9>&-
}
