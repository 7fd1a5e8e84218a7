#!/usr/bin/env bash
# The documentation builds, and every link in it leads somewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --workspace --no-deps --features multiproc/interop,multiproc/tokio,multiproc/tracing
