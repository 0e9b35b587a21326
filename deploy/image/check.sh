#!/usr/bin/env bash
# Builds the image and runs it as production would: another user, no capabilities, a root file
# system nobody can write to, a Redis beside it; then a job goes through it and each container
# must drain and end with 0 on SIGTERM. Needs root and the Debian packages podman, crun, catatonit,
# redis-server and curl; without BASE also mmdebstrap, which makes a Debian base from the packages
# this machine already knows where to get. Nothing is pulled from an image registry.
#     sudo deploy/image/check.sh                     # or BASE=localhost/some-python deploy/image/check.sh
#     sudo deploy/image/check.sh --twice             # builds what is committed twice, from nothing,
#                                                    # and compares the layers; runs nothing
# Ends with 75 when this machine could not build the image or start it, so that nothing was checked.
set -euo pipefail
cd "$(dirname "$0")/../.."
IMAGE=localhost/credstream:check
ROLES=(gateway worker scheduler)
WORK=$(mktemp -d)
REDIS=0
STARTED=no
PAUSE_S=0.2
finish() {
    local code=$?
    podman rm --force --ignore "${ROLES[@]/#/credstream-}" >/dev/null 2>&1 || true
    [ "$REDIS" = 0 ] || kill "$REDIS" || true
    rm -rf "$WORK"
    [ "$code" = 0 ] || [ "$STARTED" = yes ] || exit 75
}

. deploy/image/base.sh

build() { # context, further options
    local context=$1
    shift
    podman build --quiet "${BUILT_LIKE_THIS[@]}" \
        --build-arg BASE="$BASE" --timestamp "${SOURCE_DATE_EPOCH:-0}" --tag "$IMAGE" "$@" \
        "$context" >"$WORK/build.log" 2>&1 ||
        { cat "$WORK/build.log" >&2; return 1; }
}

layers() { # of a build from nothing
    build "$1" --no-cache
    podman image inspect --format '{{.RootFS.Layers}}' "$IMAGE"
}

same_twice() {
    local first second
    mkdir "$WORK/context"
    git archive HEAD | tar -x -C "$WORK/context"
    first=$(layers "$WORK/context")
    second=$(layers "$WORK/context")
    printf 'first  %s\nsecond %s\n' "$first" "$second"
    [ "$first" = "$second" ]
}

in_own_cgroups() {
    unshare --mount --propagation private bash -c \
        '. deploy/image/base.sh && own_cgroups && "$@"' _ "$@"
}

start() { # name, words of the program
    local name=$1
    shift
    in_own_cgroups podman run --detach --name "credstream-$name" --network host \
        --cgroups=disabled --ulimit nofile=20000:20000 --ulimit nproc=4096:4096 \
        --no-healthcheck --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp \
        --volume "$WORK/keks:/run/secrets/keks:ro" \
        --volume "$WORK/webhook-keks:/run/secrets/webhook-keks:ro" \
        --env REDIS_URL="redis://127.0.0.1:$REDIS_PORT" --env PORT="$PORT" \
        --env CREDSTREAM_KEKS_FILE=/run/secrets/keks \
        --env CREDSTREAM_WEBHOOK_KEKS_FILE=/run/secrets/webhook-keks \
        "${@:2}" "$IMAGE" "$1" >/dev/null
}

logs() {
    for role in "${ROLES[@]}"; do podman logs "credstream-$role" || true; done
}

inspect() { # what the process may do, from the kernel's own account of it
    local pid
    pid=$(podman inspect --format '{{.State.Pid}}' "credstream-$1")
    grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr '\t\n' '  '
    echo
    grep -Eq '^Uid:\s+10001\s+10001\s' "/proc/$pid/status"
    grep -Eq '^CapEff:\s+0+$' "/proc/$pid/status"
    grep -Eq '^CapBnd:\s+0+$' "/proc/$pid/status"
    grep -Eq '^NoNewPrivs:\s+1$' "/proc/$pid/status"
    awk '$5 == "/" { exit $6 !~ /^ro(,|$)/ }' "/proc/$pid/mountinfo"
    ! grep -aqE 'PASSWORD=|KEKS=' "/proc/$pid/environ"
}

drain() {
    podman kill --signal TERM "credstream-$1" >/dev/null
    wait_for sh -c "[ \"\$(podman inspect --format '{{.State.Running}}' credstream-$1)\" = false ]"
    local code
    code=$(podman inspect --format '{{.State.ExitCode}}' "credstream-$1")
    echo "$1 ended with $code after SIGTERM"
    [ "$code" = 0 ]
}

trap finish EXIT
[ -n "${BASE:-}" ] || make_base
if [ "${1:-}" = --twice ]; then
    STARTED=yes
    same_twice
    exit
fi
build .
REDIS_PORT=${REDIS_PORT:-16379} PORT=${PORT:-13000} PROBE_PORT=${PROBE_PORT:-19090}
redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --dir "$WORK" --appendonly yes --save '' \
    --maxmemory-policy noeviction --loglevel warning &
REDIS=$!
for ring in keks webhook-keks; do
    printf 'k1:%s\n' "$(head -c 32 /dev/urandom | base64 -w0)" >"$WORK/$ring"
    chown 10001 "$WORK" "$WORK/$ring"
    chmod 0400 "$WORK/$ring"
done
wait_for redis-cli -p "$REDIS_PORT" ping
start gateway gateway
start worker worker --env QUEUES=did-operations --env PROBE_PORT="$PROBE_PORT"
start scheduler scheduler --env PROBE_PORT="$((PROBE_PORT + 1))"
wait_for podman inspect "${ROLES[@]/#/credstream-}"
STARTED=yes
for port in "$PORT" "$PROBE_PORT" "$((PROBE_PORT + 1))"; do
    wait_for curl -sf "http://localhost:$port/readyz"
done
for role in "${ROLES[@]}"; do
    inspect "$role"
    in_own_cgroups podman exec "credstream-$role" credstream health --ready
done
ID=$(curl -sS --fail-with-body "http://localhost:$PORT/queue/did-operations/jobs" -H 'Content-Type: application/json' \
    -d '{"data": {"operation": "create", "didMethod": "key", "organizationId": "org-1", "userId": "user-1"}}' |
    sed -E 's/.*"(id|jobId)":"([^"]+)".*/\2/')
wait_for sh -c "curl -sf http://localhost:$PORT/queue/did-operations/job/$ID | grep -q completed"
echo "job $ID completed"
for role in scheduler worker gateway; do drain "$role"; done
podman image inspect --format 'image {{.Id}}, {{.Size}} bytes, user {{.Config.User}}' "$IMAGE"
