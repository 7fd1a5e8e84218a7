#!/usr/bin/env bash
# Licences, sources and versions of what we depend on, and what is known against it (deny.toml).
# cargo-deny is built when it is not there: a minute and a half of one processor's time.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2

if ! cargo deny --version 2>/dev/null | grep -qxF "cargo-deny $version"; then
    tools="${CARGO_TARGET_DIR:-$PWD/target}/tools"
    export PATH="$tools/bin:$PATH"
    # Unoptimized: it is quicker to build, and has little to do.
    env -u CARGO_TARGET_DIR cargo install cargo-deny --version "$version" --locked --debug --root "$tools"
fi

cargo deny check licenses bans sources
if cargo deny fetch db; then
    cargo deny check --disable-fetch advisories
else
    echo "NOT CHECKED: the list of advisories cannot be reached from here" >&2
fi
