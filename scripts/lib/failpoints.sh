#!/usr/bin/env bash
# Builds gapless with failpoints for the crash matrix, as gapless-failpoints beside the usual binary:
#   ./scripts/lib/failpoints.sh [--release]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=target/debug
[ "${1:-}" = --release ] && folder=target/release
# Built with the whole workspace and a test, so that both builds and all tests share dependencies with the same features.
build() { cargo build --quiet --workspace --bin gapless --test output "$@"; }
# Without the optimisation for the simulator: compiling it would take longer than it saves.
build --features gapless/failpoints --config profile.dev.package.gapless-server.opt-level=0 "$@"
cp "$folder/gapless" "$folder/gapless-failpoints.new"
mv "$folder/gapless-failpoints.new" "$folder/gapless-failpoints"
# Restores the usual binary.
build "$@"
