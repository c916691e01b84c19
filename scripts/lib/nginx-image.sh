# The image of nginx in a container, for tests. Sourced, not run.

# Creates the image once: this host's own nginx with its libraries, and nothing else.
need_nginx_image() {
    local tag=$1 root binary file
    command -v docker >/dev/null || need_packages docker.io
    docker image inspect "$tag" >/dev/null 2>&1 && return
    need_packages nginx-light
    binary=$(command -v nginx || echo /usr/sbin/nginx)
    root=$(mktemp -d)
    echo "building $tag" >&2
    mkdir -p "$root"/{etc/nginx,run,tmp,usr/sbin,usr/share/nginx,var/lib/nginx,var/log/nginx}
    cp "$binary" "$root/usr/sbin/nginx"
    # ldd prints `name => path (address)`, and the loader's path alone.
    ldd "$binary" | grep --only-matching '/[^ ]*' | while read -r file; do
        mkdir -p "$root$(dirname "$file")"
        cp --dereference "$file" "$root$file"
    done
    printf 'root:x:0:0:root:/:/\nwww-data:x:33:33:www-data:/:/\nnobody:x:65534:65534:nobody:/:/\n' >"$root/etc/passwd"
    printf 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n' >"$root/etc/group"
    tar --create --directory "$root" --owner 0 --group 0 . | docker import \
        --change 'ENV PATH=/usr/sbin' --change 'CMD ["nginx", "-g", "daemon off;"]' - "$tag" >/dev/null
    rm -rf "$root"
}
