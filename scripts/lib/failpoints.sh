#!/usr/bin/env bash
# Builds gapless with the places at which the crash matrix makes it fail, as gapless-failpoints beside the usual one:
#   ./scripts/lib/failpoints.sh [--release]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=target/debug
[ "${1:-}" = --release ] && folder=target/release
# With the workspace and a test, so that what both builds and all tests have in common is built once, with the same features.
build() { cargo build --quiet --workspace --bin gapless --test output "$@"; }
# Not optimised where that is for the simulator alone: it takes longer to build than it ever runs.
build --features gapless/failpoints --config profile.dev.package.gapless-server.opt-level=0 "$@"
cp "$folder/gapless" "$folder/gapless-failpoints.new"
mv "$folder/gapless-failpoints.new" "$folder/gapless-failpoints"
# The usual one is put back into its place.
build "$@"
