# The image that systemd is booted in by tests: sourced, not run.

# Sees to it that there is one: this host's own Debian, as small as it can be, with systemd and D-Bus, and etcd
# and nginx, which run where a test starts them. Made once.
need_systemd_image() {
    local tag=$1 release root
    command -v docker >/dev/null || need_packages docker.io
    docker image inspect "$tag" >/dev/null 2>&1 && return
    need_packages mmdebstrap
    # What was built here must find the C library that it was built with.
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    root=$(mktemp --suffix=.tar)
    echo "building $tag" >&2
    as_root mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,etcd-server,etcd-client,nginx-light \
        --customize-hook='chroot "$1" systemctl disable etcd nginx' "$release" "$root"
    docker import "$root" "$tag" >/dev/null
    as_root rm -f "$root"
}
