#!/usr/bin/env bash
# The README's first command, and the main example under load. It checks by itself that every
# message arrives exactly once and in order. All examples are run by ci/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --example producer_consumer
cargo run --release --example producer_consumer -- --scale 0.1 \
    --producers 4 --consumers 4 --messages 400000

# Real text: the totals are those of wc.
files=(LICENSE-* README.md ARCHITECTURE.md crates/*/src/*.rs)
ours=$(cargo run --quiet --release --example producer_consumer -- --scale 0.1 \
    --input "${files[@]}" | sed -n 's/ total$//p')
wcs=$(LC_ALL=C.UTF-8 wc -lwc "${files[@]}" | awk 'END { print $1, $2, $3 }')
echo "lines, words, bytes: $ours; wc says $wcs"
[ "$ours" = "$wcs" ]
