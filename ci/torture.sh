#!/usr/bin/env bash
# A short storm of kills over each scenario, and a shorter one where the kernel's list of held locks
# cannot be used; more with `cargo run --release -p torture`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release -p torture -- all --kills 200
MULTIPROC_NO_ROBUST_LIST=1 cargo run --release -p torture -- \
    mutex lock rwlock rlock value semaphore condition barrier batches tasks --kills 50
