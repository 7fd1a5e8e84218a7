#!/usr/bin/env bash
# The tests, doc tests among them, by the README's second command.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace

# What needs a feature that is off by default.
features=multiproc-event/raw_sync,multiproc-value/shared_memory,multiproc-pipe/tokio,multiproc-queue/tokio
packages=(-p multiproc-event -p multiproc-value -p multiproc-pipe -p multiproc-queue)
cargo test "${packages[@]}" --features "$features" --test raw_sync --test interop --test asynchronous
cargo test "${packages[@]}" --features "$features" --doc
