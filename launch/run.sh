#!/usr/bin/env bash
# launch/run.sh [flags]: run `python -m autoloss_jax.main` with these flags, in the caller's directory; the
# environment is made on first use. Without --config it is a study on made-up data, in about a minute:
# configs/studies/lost_conversions.py. See also --help.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

program=autoloss_jax.studies.run
for argument in "$@"; do
  case $argument in
    --mode=evaluate | --mode=predict | evaluate | predict) program=autoloss_jax.main ;; # a run knows its config
    --config | --config=* | -config | -config=* | --help* | -help* | -h | '-?') program=autoloss_jax.main ;;
  esac
done
if [ "$program" = autoloss_jax.studies.run ]; then set -- --config=lost_conversions "$@"; fi

# shellcheck disable=SC2119 # no file beyond what the program needs
environment
if [ "$program" = autoloss_jax.studies.run ] && ! nvidia_driver; then set -- "$@" --workers=2; fi
export PYTHONPATH="$repo${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -P -m "$program" "$@"
