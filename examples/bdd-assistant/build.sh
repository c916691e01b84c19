#!/usr/bin/env bash
# Builds the example application into an image of nothing but its static binary: ./build.sh [TAG]
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:-bdd-assistant:latest}
# The profile of Cargo that compiles the program.
profile=${PROFILE:-release}
triple="$(uname -m)-unknown-linux-gnu"
# The binary is copied from target/ below.
unset CARGO_TARGET_DIR

# With --target the flags apply to this program only, not to build scripts.
RUSTFLAGS="-Ctarget-feature=+crt-static" cargo build --profile "$profile" --quiet --package bdd-assistant --target "$triple"
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "target/$triple/$profile/bdd-assistant" examples/bdd-assistant/Dockerfile "$context"

# Uses the Engine's API, so that only the Engine is required.
tar --create --directory "$context" bdd-assistant Dockerfile |
    curl --silent --show-error --fail --unix-socket /var/run/docker.sock \
        --header 'Content-Type: application/x-tar' --data-binary @- "http://docker/build?t=$tag&rm=true" >"$context/answer"
if grep --quiet '"error"' "$context/answer"; then
    cat "$context/answer" >&2
    exit 1
fi
echo "built $tag ($(du --bytes "$context/bdd-assistant" | cut -f1) bytes)"
