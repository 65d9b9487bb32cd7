#!/usr/bin/env bash
# launch/local.sh N [flags]: launch/run.sh with these flags in N processes on this machine. Of NVIDIA GPUs each process
# takes one; without any, a share of the cores. Its exit status is the first that is not 0; Ctrl-C and SIGTERM reach all.
set -euo pipefail

case ${1:-} in
  '' | *[!0-9]* | 0*) printf 'launch: name the number of processes first, as launch/local.sh 2 --config=...\n' >&2; exit 2 ;;
esac
count=$1
shift
folder=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=environment.sh
. "$folder/environment.sh"
# shellcheck disable=SC2119 # no file beyond what the program needs
environment

port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$count
pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
for ((i = 0; i < count; i++)); do
  if nvidia_driver; then export JAX_LOCAL_DEVICE_IDS=$i; fi
  JAX_PROCESS_ID=$i "$folder/run.sh" "$@" &
  pids+=($!)
done

status=0
for pid in "${pids[@]}"; do
  while :; do
    code=0
    wait "$pid" || code=$?
    if ! kill -0 "$pid" 2>/dev/null; then break; fi # else a signal came while waiting
  done
  if [ "$status" -eq 0 ]; then status=$code; fi
done
exit "$status"
