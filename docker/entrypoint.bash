#!/usr/bin/env bash
# Enter the environment of ResFiT, then run what the container was asked to run.
set -e
# shellcheck disable=SC1091
source /opt/resfit/setup.bash
exec "$@"
