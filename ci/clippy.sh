#!/usr/bin/env bash
# No warning of the compiler or of clippy, in libraries, tests, examples and benches.
set -euo pipefail
cd "$(dirname "$0")/.."
bash ci/component.sh clippy
cargo clippy --workspace --all-targets -- -D warnings
