#!/usr/bin/env bash
# Checks and measures the transformers engine on this machine's GPU, without a network and without
# installing anything into the Python that is here.
#
#   scripts/gpu_check.sh [options of scripts/gpu_check.py]
#
# PYTHON: a Python with torch and transformers (default: python3). Others that it lacks are looked
# for as wheels in the folder KO_EVAL_WHEELS (default: wheels beside this repository's files) and
# unpacked into a temporary folder; made on a machine with a network by
#
#   pip download --only-binary :all: --no-deps -d wheels PACKAGE …
#
# Exit code: that of gpu_check.py; 2 as well when something is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
wheels="${KO_EVAL_WHEELS:-wheels}"

# Import names, and the names of their packages where those differ.
missing_packages() {
    "$python" - <<'PYTHON'
import importlib.util

needed = {
    "torch": "torch", "transformers": "transformers", "tokenizers": "tokenizers",
    "safetensors": "safetensors", "huggingface_hub": "huggingface-hub", "numpy": "numpy",
    "jinja2": "jinja2", "markupsafe": "markupsafe", "pydantic": "pydantic",
    "pydantic_core": "pydantic-core", "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection", "typing_extensions": "typing-extensions",
    "yaml": "pyyaml",
}
print(" ".join(p for name, p in needed.items() if importlib.util.find_spec(name) is None))
PYTHON
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    printf 'error: %s is not Python 3.11 or newer\n  set PYTHON to one that has torch\n' "$python" >&2
    exit 2
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
missing=$(missing_packages)
if [ -n "$missing" ] && [ -d "$wheels" ]; then
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    # shellcheck disable=SC2086  # several packages
    "$python" -m pip install -q --no-index --no-deps --find-links "$wheels" --target "$unpacked" \
        $missing || true
    PYTHONPATH="$PYTHONPATH:$unpacked"
    missing=$(missing_packages)
fi
for package in torch transformers; do
    if [[ " $missing " == *" $package "* ]]; then
        printf 'error: %s has no %s\n  set PYTHON to a Python that has torch and transformers\n' \
            "$python" "$package" >&2
        exit 2
    fi
done
if [ -n "$missing" ]; then
    printf 'error: packages are missing: %s\n' "$missing" >&2
    printf '  on a machine with a network: pip download --only-binary :all: --no-deps -d wheels %s\n' \
        "$missing" >&2
    printf '  then copy the folder here and set KO_EVAL_WHEELS to it\n' >&2
    exit 2
fi
"$python" scripts/gpu_check.py "$@"
