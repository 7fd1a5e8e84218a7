#!/usr/bin/env bash
# A short storm of kills over each scenario; more with `cargo run --release -p torture`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release -p torture -- all --kills 200
