# For check.sh and compose.sh, which set WORK and PAUSE_S and have `logs`: how to wait, and what an
# image is built on where no registry is at hand.

make_base() { # sets BASE
    BASE=localhost/credstream-base:bookworm
    podman image exists "$BASE" && return
    local mirror
    # A machine may have more sources than Debian's, and switched-off ones.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -1)
    [ -n "$mirror" ] || { echo "apt knows no Debian: apt-get update first, or set BASE" >&2; return 1; }
    mmdebstrap --quiet --variant=essential --include=ca-certificates,python3,python3-venv \
        bookworm "$WORK/base.tar" "$mirror"
    podman import --quiet "$WORK/base.tar" "$BASE" >/dev/null
}

# How pip reaches its packages here is this machine's business: a build sees the same files.
SEEN=()
for file in /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip" /etc/ssl/certs \
    /usr/share/ca-certificates /usr/local/share/ca-certificates; do
    [ -e "$file" ] && SEEN+=(--volume "$file:$file:ro")
done
BUILT_LIKE_THIS=(--format docker --isolation chroot --network host "${SEEN[@]}")

# Podman 4 cannot use a hybrid cgroup tree: inside a mount namespace of its own it sees a pure one.
own_cgroups() {
    umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
}

wait_for() { # a command; 150 tries
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return
        sleep "$PAUSE_S"
    done
    echo "gave up waiting for: $*" >&2
    logs >&2
    return 1
}
