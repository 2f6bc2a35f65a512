#!/usr/bin/env bash
# Lets Schemathesis (property-based tests by people who know nothing of this server) ask for a minute what it makes up from
# the schema. KEYHOLDER names the binary; SCHEMATHESIS_SECONDS the time. Needs Python with its module venv; installs the rest into a cache.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v python3 >/dev/null 2>&1 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Schemathesis needs Python 3 with its module venv. On Debian: apt-get install python3-venv" >&2
    exit 1
fi

cache="${XDG_CACHE_HOME:-$HOME/.cache}/keyholder-schemathesis"
# Of these versions, installed to the end; else anew.
if ! cmp -s schemathesis.txt "$cache/installed.txt"; then
    rm -rf "$cache"
    python3 -m venv "$cache"
    "$cache/bin/pip" install --quiet --disable-pip-version-check --no-deps -r schemathesis.txt
    cp schemathesis.txt "$cache/installed.txt"
fi

exec node schemathesis.mjs "$cache/bin/schemathesis" "${SCHEMATHESIS_SECONDS:-60}"
