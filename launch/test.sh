#!/usr/bin/env bash
# launch/test.sh [pytest arguments]: run the tests from the repository's root, on the CPU unless
# JAX_PLATFORMS says otherwise; the environment is made on first use.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

environment requirements-test.txt
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
cd -- "$repo"
exec "$python" -m pytest "$@"
