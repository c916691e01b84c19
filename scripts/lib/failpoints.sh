#!/usr/bin/env bash
# Builds gapless with the places at which the crash matrix makes it fail, as gapless-failpoints beside the usual one:
#   ./scripts/lib/failpoints.sh [--release]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=target/debug
[ "${1:-}" = --release ] && folder=target/release
# What is not changed by the feature is built once for both; the usual one is put back by the next usual build.
cargo build --quiet --package gapless --bin gapless --features failpoints "$@"
cp "$folder/gapless" "$folder/gapless-failpoints.new"
mv "$folder/gapless-failpoints.new" "$folder/gapless-failpoints"
cargo build --quiet --package gapless --bin gapless "$@"
