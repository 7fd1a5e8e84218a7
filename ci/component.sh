#!/usr/bin/env bash
# Sees to it that a component of the toolchain is there: ci/component.sh rustfmt
# Rust as a distribution packages it has no rustup; then the command must be there already.
set -euo pipefail

case "$1" in
    rustfmt) command=(cargo fmt --version) ;;
    clippy) command=(cargo clippy --version) ;;
    *) echo "ci/component.sh knows rustfmt and clippy, not $1" >&2; exit 2 ;;
esac

if "${command[@]}" >/dev/null 2>&1; then
    exit 0
fi
if command -v rustup >/dev/null; then
    rustup component add "$1"
else
    echo "$1 is missing, and there is no rustup to add it with" >&2
    exit 1
fi
