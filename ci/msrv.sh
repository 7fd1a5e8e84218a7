#!/usr/bin/env bash
# What is published builds with the oldest Rust that Cargo.toml declares (rust-version).
set -euo pipefail
cd "$(dirname "$0")/.."

declared=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
here=$(rustc --version | cut -d' ' -f2)
case "$here" in
    "$declared" | "$declared".*)
        echo "Rust $here is the oldest declared: all other steps check it"
        exit 0
        ;;
esac

packages=()
while read -r name _; do
    packages+=(--package "$name")
done < <(bash ci/packages.sh)
check=(check --quiet --all-features "${packages[@]}")

if command -v rustup >/dev/null &&
    { rustup run "$declared" rustc --version ||
        rustup toolchain install "$declared" --profile minimal; } >/dev/null 2>&1; then
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/msrv" rustup run "$declared" cargo "${check[@]}"
    echo "it builds with Rust $declared"
elif [ "$(printf '%s\n' "$declared" "$here" | sort -V | head -n 1)" = "$declared" ]; then
    echo "NOT CHECKED: Rust $declared cannot be had here, only $here, which is newer" >&2
else
    echo "this is Rust $here, and Cargo.toml asks for $declared" >&2
    exit 1
fi
