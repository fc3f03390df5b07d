# Sets up a checkout: system packages and .venv. Sourced by demo, test and bench.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

# The packages of "$@" that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
            echo "$package"
    done
}

# Install packages by apt as root or through sudo, or say how and stop.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "these packages are missing and there is no apt-get to install them: ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null ||
            fail "run this first, then try again: sudo apt-get update && sudo apt-get install -y ${missing[*]}"
        as_root=(sudo)
    fi
    echo "Installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq </dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# The first Python that is new enough.
find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed: sudo apt-get install -y python3.11 python3.11-venv python3.11-dev"
}

# Make .venv from the lock, unless the one that is there was made from the same.
install_python_packages() {
    local stamp
    stamp=$(cat "$root/requirements.lock" "$root/pyproject.toml" | sha256sum)
    [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$venv/bin/provenafs" ] && return
    local python
    python=$(find_python)
    echo "Installing the Python packages of requirements.lock with $("$python" --version)"
    "$python" -m venv --clear "$venv"
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check -qq install)
    PYTHONDONTWRITEBYTECODE="" "${pip[@]}" --require-hashes -r "$root/requirements.lock"
    "${pip[@]}" --no-deps --no-build-isolation -e "$root"
    echo "$stamp" >"$venv/.stamp"
}

# Everything that a mount needs.
set_up() {
    install_packages fuse3 libfuse3-dev pkg-config gcc libc6-dev python3-dev python3-venv
    install_python_packages
    [ -e /dev/fuse ] ||
        fail "/dev/fuse is missing: run 'modprobe fuse', or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
}
