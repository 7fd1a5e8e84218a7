#!/usr/bin/env bash
# The packages that are published, one a line, each followed by its features. Other scripts go by
# this list, so that a new crate needs no line in any of them.
set -euo pipefail
cd "$(dirname "$0")/.."

# One line for each package of the workspace (`"publish":[]` says `publish = false`); names of
# features are its keys: their values are lists.
cargo metadata --no-deps --format-version 1 | sed 's/{"name":"[^"]*","version"/\n&/g' |
    grep '^{"name"' | grep -v '"publish":\[\]' | while read -r package; do
    name=$(sed 's/{"name":"\([^"]*\)".*/\1/' <<<"$package")
    features=$(grep -o '"features":{[^}]*}' <<<"$package" | grep -o '"[^"]*":\[' | tr -d '":[' || true)
    echo "$name" $features
done
