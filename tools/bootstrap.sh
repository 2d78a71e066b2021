#!/usr/bin/env bash
# One command from a fresh clone: set up what is missing, then run.
#
#   bash tools/bootstrap.sh demo [--json …]    a whole mesh on this machine
#   bash tools/bootstrap.sh test [pytest …]    the default test suite
#   bash tools/bootstrap.sh run VERB …         any coppice verb
#   bash tools/bootstrap.sh setup              only set up
#   bash tools/bootstrap.sh lock               renew the lock files (for maintainers)
#
# What it makes: .venv/ beside this folder, from requirements.lock (running) or requirements-dev.lock
# (testing), versions and hashes pinned. A stamp with the lock's checksum lets the next start skip all that.
# Nothing is installed outside .venv, except, when root, the compiler and headers that one dependency
# (fastecdsa, which libp2p pins) needs to be built. Messages go to stderr; stdout belongs to the command.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }
fail() { say "$1"; exit 2; }

is_fresh() { # KIND: the stamp matches the lock file
    local stamp="$venv/.coppice-$1"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(cksum < "$(lock_file "$1")")" ]
}

lock_file() { if [ "$1" = dev ]; then printf '%s' "$root/requirements-dev.lock"; else printf '%s' "$root/requirements.lock"; fi; }

find_python() { # print a Python 3.11+ that is there
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

packages() { # the words each package manager knows for what is needed
    case "$1" in
        apt-get) printf '%s' 'gcc libc6-dev libgmp-dev python3-dev python3-venv' ;;
        dnf) printf '%s' 'gcc gmp-devel python3-devel' ;;
        apk) printf '%s' 'gcc musl-dev gmp-dev python3-dev' ;;
    esac
}

install_system_packages() { # as root install them, otherwise print the exact line and stop
    local manager line=''
    for manager in apt-get dnf apk; do
        command -v "$manager" > /dev/null || continue
        case "$manager" in
            apt-get) line="apt-get update && apt-get install -y --no-install-recommends $(packages apt-get)" ;;
            dnf) line="dnf install -y $(packages dnf)" ;;
            apk) line="apk add $(packages apk)" ;;
        esac
        break
    done
    [ -n "$line" ] || fail "$1 Install gcc, the libgmp headers and the Python headers with your package manager."
    [ "$(id -u)" = 0 ] || fail "$1 Type this, then start again: sudo sh -c '$line'"
    say "$1 Installing them: $line"
    DEBIAN_FRONTEND=noninteractive sh -c "$line" > "$root/.bootstrap.log" 2>&1 < /dev/null \
        || { tail -5 "$root/.bootstrap.log" >&2; fail "That did not work. Type it yourself: $line"; }
    rm -f "$root/.bootstrap.log"
}

can_compile() { # a C program may include gmp.h and Python.h
    local include
    include="$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')"
    printf '#include <Python.h>\n#include <gmp.h>\n' | cc -I"$include" -fsyntax-only -x c - 2> /dev/null
}

set_up() { # KIND: run | dev
    local kind="$1" lock python
    lock="$(lock_file "$kind")"
    exec 9< "$root"
    if command -v flock > /dev/null; then flock 9; fi
    if is_fresh "$kind"; then return 0; fi
    python="$(find_python)" || fail 'Coppice needs Python 3.11 or later and found none. Install it, or name it: PYTHON=/path/to/python3.11 bash tools/bootstrap.sh'
    say "Setting up .venv once ($("$python" --version), $(grep -c == "$lock") packages); this takes a minute or two."
    if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
        "$python" -c 'import ensurepip, venv' 2> /dev/null || install_system_packages 'Python has no venv module.'
        "$python" -m venv --clear "$venv" >&2
    fi
    if ! "$venv/bin/python" -c 'import fastecdsa.curvemath' 2> /dev/null; then
        can_compile "$venv/bin/python" \
            || install_system_packages 'libp2p needs fastecdsa, which is built from source: a C compiler, the libgmp headers and the Python headers are missing.'
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock" >&2 < /dev/null \
        || fail 'Installing the locked packages failed; the lines above say why. Is the network reachable?'
    # trio-typing (a dependency of libp2p) ships stubs of a trio of 2023 that would hide trio's own types.
    rm -rf "$venv"/lib/python*/site-packages/trio-stubs
    "$venv/bin/python" -m compileall -q "$root/mesh" "$root/protocols" "$root/tools" "$root/node.py" >&2 || true
    if [ "$kind" = dev ]; then cksum < "$(lock_file run)" > "$venv/.coppice-run"; fi
    cksum < "$lock" > "$venv/.coppice-$kind"
    exec 9<&-
}

need() { is_fresh "$1" || set_up "$1"; }

make_locks() {
    command -v uv > /dev/null || fail 'Renewing the locks needs uv.'
    cd "$root"
    local options='--quiet --python-version 3.11 --universal --generate-hashes --no-header --no-annotate'
    # shellcheck disable=SC2086
    uv pip compile $options pyproject.toml -o requirements.lock > /dev/null
    # shellcheck disable=SC2086
    uv pip compile $options pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock > /dev/null
}

verb="${1:-help}"
[ $# -eq 0 ] || shift
case "$verb" in
    demo) need run; exec "$venv/bin/python" "$root/node.py" demo "$@" ;;
    run) need run; exec "$venv/bin/python" "$root/node.py" "$@" ;;
    test) need dev; cd "$root"; exec "$venv/bin/python" -m pytest -m 'not long' -n auto --maxprocesses 4 --dist loadfile "$@" ;;
    setup) need "${1:-run}" ;;
    lock) make_locks ;;
    *) sed -n '4,8p' "${BASH_SOURCE[0]}" | cut -c3- >&2; [ "$verb" = help ] || exit 2 ;;
esac
