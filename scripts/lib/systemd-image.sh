# The image in which tests boot systemd. Sourced, not run.

# Creates the image once: this host's own Debian, as small as possible, with systemd, D-Bus, etcd and nginx; tests start
# the last two.
need_systemd_image() {
    local tag=$1 release root
    command -v docker >/dev/null || need_packages docker.io
    docker image inspect "$tag" >/dev/null 2>&1 && return
    need_packages mmdebstrap
    # Programs built on this host must find the same C library.
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    root=$(mktemp --suffix=.tar)
    echo "building $tag" >&2
    as_root mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,etcd-server,etcd-client,nginx-light \
        --customize-hook='chroot "$1" systemctl disable etcd nginx' "$release" "$root"
    docker import "$root" "$tag" >/dev/null
    as_root rm -f "$root"
}
