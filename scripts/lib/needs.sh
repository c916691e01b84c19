# Installs what the scripts need. Sourced, not run.

# The scripts find their binaries in target/.
unset CARGO_TARGET_DIR

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of the named Debian packages that are missing.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" = 0 ] && return
    echo "installing ${missing[*]}" >&2
    as_root apt-get update -qq
    # Suppresses the services of the packages: each test starts its own.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Succeeds when a Docker Engine answers.
docker_answers() {
    curl --silent --fail --max-time 5 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null
}

# Starts a Docker Engine when none answers, and installs it first when it is missing.
need_docker() {
    need_packages curl ca-certificates
    docker_answers && return
    need_packages docker.io iptables
    echo "starting the Docker Engine" >&2
    if [ -d /run/systemd/system ]; then
        as_root systemctl start docker
    else
        as_root setsid dockerd >"${TMPDIR:-/tmp}/dockerd.log" 2>&1 </dev/null &
    fi
    local attempt
    for attempt in $(seq 300); do
        docker_answers && return
        sleep 0.1
    done
    echo "the Docker Engine does not answer; see ${TMPDIR:-/tmp}/dockerd.log" >&2
    return 1
}

# Installs a program with cargo when it is missing, which takes minutes.
need_cargo_tool() {
    # Not optimised: compiling it takes longer than it ever runs.
    command -v "$1" >/dev/null || CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --quiet --debug "$1"
}
