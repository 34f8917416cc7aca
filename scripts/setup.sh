# Sourced by the other scripts: makes a virtual environment and installs ko-eval into it.
#
#   setup EXTRAS [PACKAGE …]     installs '.[EXTRAS]' as pinned in constraints.txt, and each PACKAGE
#                                without its dependencies
#
# The environment is .venv, or KO_EVAL_VENV. Nothing is installed twice: a stamp in the environment
# remembers what was installed from which pins.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
venv="${KO_EVAL_VENV:-.venv}"

say() { printf '== %s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    printf 'error: Python 3.11 or newer is needed, and none was found\n' >&2
    exit 1
}

make_venv() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return
    local python
    python=$(find_python) || exit 1
    say "making $venv with $python"
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        # Debian splits venv from Python.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            say "installing python3-venv"
            apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
        fi
        rm -rf "$venv"
        "$python" -m venv "$venv" || {
            printf 'error: cannot make a virtual environment; install the venv module of Python\n' >&2
            exit 1
        }
    fi
}

setup() {
    local extras=$1 stamp wanted
    shift
    make_venv
    stamp="$venv/.ko-eval-$extras"
    wanted=$(cat pyproject.toml constraints.txt | cksum; printf '%s\n' "$PWD" "$@")
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    say "installing ko-eval[$extras] into $venv"
    # torch alone first: what is pinned is then in place before anything else asks for it.
    "$venv/bin/python" -m pip install -q -c constraints.txt torch
    "$venv/bin/python" -m pip install -q -c constraints.txt -e ".[$extras]"
    local package
    for package in "$@"; do
        "$venv/bin/python" -m pip install -q --no-deps "$package"
    done
    printf '%s\n' "$wanted" >"$stamp"
}
