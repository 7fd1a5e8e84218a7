#!/usr/bin/env bash
# The code is formatted.
set -euo pipefail
cd "$(dirname "$0")/.."
bash ci/component.sh rustfmt
cargo fmt --all -- --check
