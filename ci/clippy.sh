#!/usr/bin/env bash
# No warning of the compiler or of clippy, in libraries, tests, examples and benches.
set -euo pipefail
cd "$(dirname "$0")/.."
bash ci/component.sh clippy
cargo clippy --workspace --all-targets -- -D warnings
cargo clippy --all-targets --features multiproc/interop,multiproc/tokio,multiproc/tracing -p multiproc \
    -p multiproc-event -p multiproc-value -p multiproc-message -p multiproc-pipe -p multiproc-queue \
    -- -D warnings
