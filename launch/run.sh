#!/usr/bin/env bash
# launch/run.sh [flags]: run `python -m autoloss_jax.main` with these flags, in the caller's directory; the
# environment is made on first use. Without --config it runs configs/quickstart.py. See also --help.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

configured=
for argument in "$@"; do
  case $argument in
    --mode=evaluate | --mode=predict | evaluate | predict) configured=yes ;; # a run knows its config
    --config | --config=* | -config | -config=* | --help* | -help* | -h | '-?') configured=yes ;;
  esac
done
if [ -z "$configured" ]; then set -- "--config=$repo/configs/quickstart.py" "$@"; fi

# shellcheck disable=SC2119 # no file beyond what the program needs
environment
export PYTHONPATH="$repo${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -P -m autoloss_jax.main "$@"
