#!/usr/bin/env bash
# Runs compose.yaml as it stands, with podman-compose, and looks: jobs go through, Prometheus finds
# both roles, a killed worker is started again, stopping drains and ends with 0, and what Redis held
# is there after `down` and `up`. Needs root, podman-compose, and the Debian packages podman, crun,
# netavark, aardvark-dns, iptables, iproute2, mmdebstrap, redis-server, prometheus and curl.
#     sudo make compose
# Nothing is pulled from an image registry: Credstream's image is built as compose.yaml says, those
# of Redis and Prometheus hold the programs of this machine. Grafana is left out. All of it lives in
# a network, a mount namespace and a storage of its own, and is gone at the end.
# Ends with 75 when this machine can run no containers on a network, so that nothing was checked.
set -euo pipefail
cd "$(dirname "$0")/../.."
GATEWAY=http://localhost:3000
PROMETHEUS=http://localhost:9091
SERVICES=(redis gateway worker prometheus)
PAUSE_S=0.4

compose() { podman-compose --profile monitoring "$@" 2>>"$WORK/compose.log" >&2; }

container() { podman ps --all --quiet --filter "label=com.docker.compose.service=$1"; }

told() { podman inspect --format "{{.State.$2}}" "$(container "$1")"; }

number() { # key, of the queue's numbers
    curl -sf "$GATEWAY/queue/did-operations/stats" | sed -E "s/.*\"$1\":([0-9]+).*/\1/"
}

logs() {
    tail -n 20 "$WORK/compose.log"
    for service in "${SERVICES[@]}"; do podman logs --tail 10 "$(container "$service")" || true; done
}

healthy() { podman healthcheck run "$(container "$1")"; }

# The program and the libraries it is linked with are all there is in such an image.
image_of() { # its name, its default command, programs of this machine
    local name=$1 command=$2 root="$WORK/root"
    mkdir -p "$root"/{tmp,data,prometheus}
    for program in "${@:3}"; do
        { command -v "$program"; ldd "$(command -v "$program")" | grep -o '/[^ )]*'; } |
            xargs cp --parents --dereference --target-directory "$root"
    done
    tar -C "$root" -c . | podman import --quiet --change "CMD $command" - "$name" >/dev/null
    rm -r "$root"
}

prepare() {
    ls /usr/lib*/podman/aardvark-dns >/dev/null
    make_base
    mkdir "$WORK/networks"
    local images
    images=$(podman info --format '{{.Store.GraphRoot}}')
    export CONTAINERS_STORAGE_CONF="$WORK/storage.conf" CONTAINERS_CONF="$WORK/containers.conf"
    printf '[storage]\ndriver="overlay"\ngraphroot="%s"\nrunroot="%s"\n[storage.options]\nadditionalimagestores=["%s"]\n' \
        "$WORK/graph" "$WORK/run" "$images" >"$CONTAINERS_STORAGE_CONF"
    # The older backend knows no names: the gateway would not find `redis`.
    printf '[containers]\ncgroups="disabled"\ndefault_ulimits=["nofile=20000:20000","nproc=4096:4096"]\n[network]\nnetwork_backend="netavark"\nnetwork_config_dir="%s"\n' \
        "$WORK/networks" >"$CONTAINERS_CONF"
    image_of localhost/redis:7.2 '["redis-server"]' redis-server redis-cli
    image_of localhost/prom/prometheus:v3.5.0 \
        '["prometheus","--config.file=/etc/prometheus/prometheus.yml","--storage.tsdb.path=/prometheus"]' \
        prometheus
    compose --podman-build-args "${BUILT_LIKE_THIS[*]}" build --build-arg "BASE=$BASE" gateway ||
        { cat "$WORK/compose.log" >&2; return 1; }
}

up() {
    # Podman before 4.6 does not wait for what a service depends on.
    compose up --detach --no-build redis
    wait_for healthy redis
    compose up --detach --no-build "${SERVICES[@]}"
    wait_for healthy gateway
    wait_for healthy worker
    wait_for curl -sf "$GATEWAY/readyz"
}

submit() { # how many jobs
    local job='{"data":{"operation":"create","didMethod":"key","organizationId":"o","userId":"u"}}'
    local jobs
    jobs=$(printf "$job,%.0s" $(seq "$1"))
    curl -sS --fail-with-body "$GATEWAY/queue/did-operations/batches" \
        -H 'Content-Type: application/json' -d "{\"jobs\":[${jobs%,}]}" >/dev/null
}

completed() { [ "$(number completed)" = "$1" ]; }

scraped() {
    [ "$(curl -sf "$PROMETHEUS/api/v1/targets" | grep -o '"health":"up"' | wc -l)" = 2 ]
}

judged() { # every rule was evaluated, without an error
    curl -sf "$PROMETHEUS/api/v1/rules" | grep -q '"health":"ok"' &&
        ! curl -sf "$PROMETHEUS/api/v1/rules" | grep -qE '"health":"(err|unknown)"'
}

started_again() { [ "$(told worker Pid)" != "$1" ] && [ "$(told worker Running)" = true ]; }

ended_with_0() {
    for service in "$@"; do
        echo "$service ended with $(told "$service" ExitCode)"
        [ "$(told "$service" Running),$(told "$service" ExitCode)" = false,0 ]
    done
}

look() {
    up
    submit 20
    wait_for completed 20
    echo "20 jobs completed"
    wait_for scraped
    wait_for judged
    echo "Prometheus scrapes the gateway and the worker and evaluates every rule"
    local pid
    pid=$(told worker Pid)
    kill -KILL "$pid"
    wait_for started_again "$pid"
    wait_for healthy worker
    echo "a killed worker is started again"
    submit 1000
    compose stop worker
    ended_with_0 worker
    [ "$(number active),$(number failed),$(($(number waiting) + $(number completed)))" = 0,0,1020 ]
    echo "stopped in the middle: $(number waiting) jobs wait, $(number completed) are completed, none is lost"
    compose stop gateway redis prometheus
    ended_with_0 gateway redis prometheus
    compose down
    up
    wait_for completed 1020
    echo "after down and up: all 1020 jobs completed"
}

finish() {
    local code=$?
    compose down --volumes || true
    exit "$code"
}

. deploy/image/base.sh
case "${1:-}" in
    --prepare) prepare ;;
    --inside)
        own_cgroups
        ip link set lo up
        trap finish EXIT
        # Whether this machine can: after this line a failure is one of compose.yaml.
        podman run --rm redis:7.2 redis-server --version || exit 75
        look
        ;;
    *)
        WORK=$(mktemp -d)
        export WORK
        trap 'rm -rf "$WORK"' EXIT
        # Whatever podman mounts is gone with the namespace.
        unshare --mount --propagation private "$0" --prepare || exit 75
        export CONTAINERS_STORAGE_CONF="$WORK/storage.conf" CONTAINERS_CONF="$WORK/containers.conf"
        unshare --net --mount --propagation private "$0" --inside
        ;;
esac
