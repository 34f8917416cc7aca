#!/usr/bin/env bash
# Sets everything up and runs the fast tests. No GPU, no model hub.
#
#   scripts/test.sh [options of pytest]
set -euo pipefail
source "$(dirname "$0")/setup.sh"

setup test
# Files of tests are shared out among processes; `-n 0` runs all in one, as --pdb needs it.
HF_HUB_OFFLINE=1 "$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile \
    -m "not slow and not vllm and not ray and not slurm and not browser" "$@"
