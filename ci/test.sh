#!/usr/bin/env bash
# The tests, doc tests among them, by the README's second command.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace
