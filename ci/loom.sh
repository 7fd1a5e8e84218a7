#!/usr/bin/env bash
# The loom models: every interleaving of a few threads. They are the test targets loom*.rs of the
# crates listed here, built with `--cfg loom`, which is why they have a target folder of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}/loom"

packages=()
for name in core ring lock semaphore event condition barrier; do
    if compgen -G "crates/$name/tests/loom*.rs" >/dev/null; then
        packages+=(-p "multiproc-$name")
    else
        echo "multiproc-$name has no loom models"
    fi
done
if [ ${#packages[@]} -eq 0 ]; then
    exit 0
fi
RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR="$target" \
    cargo test --release "${packages[@]}" --test 'loom*'
