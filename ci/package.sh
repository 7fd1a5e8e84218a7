#!/usr/bin/env bash
# Each crate can be published: its package is complete, holds nothing that nobody needs, says what
# it is, and builds from what lies in it, its neighbours' packages among that.
# ci/package.sh --list checks what the packages hold, and builds nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "$*" >&2
    exit 1
}

packages=()
while read -r name _; do
    packages+=(--package "$name")
    files=$(cargo package --list --allow-dirty --quiet --package "$name" 2>/dev/null) ||
        fail "cargo package --list --package $name fails"
    for needed in README.md LICENSE-APACHE LICENSE-MIT; do
        grep -qx "$needed" <<<"$files" || fail "the package $name has no $needed"
    done
    grep -qx 'src/\(lib\|main\)\.rs' <<<"$files" || fail "the package $name has no source"
    unneeded=$(grep -v '^\(src\|examples\)/\|^\(README\|CHANGELOG\)\.md$\|^LICENSE-\|^Cargo\.\|^\.cargo_vcs' <<<"$files" || true)
    [ -z "$unneeded" ] || fail "what is this for in the package $name: $unneeded"
    # As it will be published.
    manifest=$(cargo metadata --no-deps --format-version 1 | sed 's/{"name":"[^"]*","version"/\n&/g' |
        grep "^{\"name\":\"$name\"")
    for field in description license readme rust_version documentation; do
        grep -q "\"$field\":\"." <<<"$manifest" || fail "$name says no $field"
    done
    for field in keywords categories; do
        grep -q "\"$field\":\[\"" <<<"$manifest" || fail "$name says no $field"
    done
done < <(bash ci/packages.sh)
echo "$((${#packages[@]} / 2)) packages are complete"

if [ "${1-}" != --list ]; then
    # In a folder of its own each time: cargo takes a version that it has seen there for unchanged,
    # and keeps what it unpacked under the folder's name in its own cache.
    target=$(mktemp -d)
    cache="${CARGO_HOME:-$HOME/.cargo}/registry/src"
    before=$(ls "$cache" 2>/dev/null || true)
    clean() {
        rm -rf "$target"
        for new in $(ls "$cache"); do
            # Registries of a file have no host, so that their folders begin with a dash.
            case "$new" in -*) grep -qxe "$new" <<<"$before" || rm -rf "${cache:?}/$new" ;; esac
        done
    }
    trap clean EXIT
    CARGO_TARGET_DIR="$target" cargo package --quiet --allow-dirty "${packages[@]}"
fi
