#!/usr/bin/env bash
# Each crate builds by itself: without any feature, and with each of its features alone.
set -euo pipefail
cd "$(dirname "$0")/.."

checks=0
check() {
    if ! cargo check --quiet --package "$@" --no-default-features; then
        echo "this does not build: cargo check --package $* --no-default-features" >&2
        exit 1
    fi
    checks=$((checks + 1))
}

packages=$(bash ci/packages.sh)
while read -r -a package; do
    check "${package[0]}"
    for feature in "${package[@]:1}"; do
        check "${package[0]}" --features "$feature"
    done
done <<<"$packages"
echo "$checks builds, each by itself"
