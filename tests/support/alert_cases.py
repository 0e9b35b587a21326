"""For every alert: series under which it fires, and changes under which it stays silent.

A series is `name{labels}` -> values in promtool's notation, one a minute: `0+6x120` grows by 6 a
minute for two hours, `5x120` stays. `AT` is when they are looked at; a case without its own number
is looked at after 90 minutes.
"""

from typing import NamedTuple

Series = dict[str, str]
Q = 'namespace="credstream",queue="q"'
POD = 'namespace="credstream",pod="a",instance="a"'
N = 'namespace="credstream"'
AT = 90


class Case(NamedTuple):
    """`quiet`: what is different when the alert must not fire, one dict for each reason."""

    fires: Series
    quiet: tuple[Series, ...]
    at_minutes: int = AT


def _hpa(now: int, most: int) -> Series:
    name = f'{{{N},horizontalpodautoscaler="keda-hpa-worker-q"}}'
    return {
        f"kube_horizontalpodautoscaler_status_current_replicas{name}": f"{now}x120",
        f"kube_horizontalpodautoscaler_spec_max_replicas{name}": f"{most}x120",
    }


WAITING = f'credstream_queue_jobs{{{Q},state="waiting"}}'
DELAYED = f'credstream_queue_jobs{{{Q},state="delayed"}}'
OUTBOX = f"credstream_queue_outbox{{{Q}}}"
DEMAND = f"credstream_queue_demand{{{Q}}}"
PAUSED = f"credstream_queue_paused{{{Q}}}"
WORKERS = f"credstream_queue_workers{{{Q}}}"
COMPLETED = f'credstream_jobs_total{{{Q},outcome="completed"}}'
FAILED = f'credstream_jobs_total{{{Q},outcome="failed"}}'
DELIVERED = f'credstream_webhook_attempts_total{{{N},outcome="delivered"}}'
REFUSED = f'credstream_webhook_attempts_total{{{N},outcome="http_5xx"}}'
DEFERRED = f'credstream_mail_attempts_total{{{N},outcome="relay_deferred"}}'
IN_TIME = f'credstream_job_wait_seconds_bucket{{{Q},le="60.0"}}'
STARTED = f"credstream_job_wait_seconds_count{{{Q}}}"
OK = f'credstream_http_requests_total{{{N},method="GET",route="/",status="200"}}'
BROKEN = f'credstream_http_requests_total{{{N},method="GET",route="/",status="503"}}'

CASES: dict[str, Case] = {
    "QueueWaitBurnsBudget": Case(
        {IN_TIME: "0+50x120", STARTED: "0+100x120"},
        (
            {IN_TIME: "0+99x120"},
            # Late a while ago, in time again.
            {IN_TIME: "0+50x80 4001+100x40"},
        ),
    ),
    "QueueNotMoving": Case(
        {WAITING: "5x120", PAUSED: "0x120"},
        (
            {WAITING: "0x120"},
            {PAUSED: "1x120"},
            {f'credstream_attempts_total{{{Q},outcome="retried"}}': "0+1x120"},
        ),
    ),
    "QueueWithoutWorkers": Case(
        {DEMAND: "5x120", WORKERS: "0x120", PAUSED: "0x120"},
        (
            # Scaled to zero: no demand, or for as long as a pod needs to start.
            {DEMAND: "0x120"},
            {DEMAND: "0x87 5x30"},
            {WORKERS: "1x120"},
            {PAUSED: "1x120"},
        ),
    ),
    "QueueUnattended": Case(
        {DELAYED: "5x120", WORKERS: "0x120", OUTBOX: "0x120"},
        (
            {DELAYED: "0x120"},
            {WORKERS: "1x120"},
            {f'credstream_build_info{{{N},pod="s",role="scheduler",version="1"}}': "1x120"},
        ),
    ),
    "QueueFailuresHigh": Case(
        {COMPLETED: "0+90x120", FAILED: "0+10x120"},
        ({FAILED: "0+1x120"}, {COMPLETED: "0x120", FAILED: "0x85 1 1 1 1 1 1 1 1 1"}),
    ),
    "QueueDeadLettersGrow": Case(
        {f'credstream_dead_letters_total{{{Q},reason="failed"}}': "0+1x120"},
        (
            {f'credstream_dead_letters_total{{{Q},reason="failed"}}': "0x80 1x40"},
            {f'credstream_dead_letters_total{{{Q},reason="failed"}}': "0x120"},
        ),
    ),
    "QueueBacklogGrows": Case(
        {DEMAND: "10000+100x120", COMPLETED: "0+60x120"},
        ({DEMAND: "20000-100x120"}, {COMPLETED: "0+60000x120"}),
    ),
    "QueueOldestWaits": Case(
        {f"credstream_queue_oldest_waiting_seconds{{{Q}}}": "0+60x120", PAUSED: "0x120"},
        ({f"credstream_queue_oldest_waiting_seconds{{{Q}}}": "30x120"}, {PAUSED: "1x120"}),
    ),
    "QueueScaledToMax": Case(_hpa(20, 20), (_hpa(19, 20),)),
    "QueueStalls": Case(
        {f"credstream_jobs_stalled_total{{{Q}}}": "0+1x120"},
        ({f"credstream_jobs_stalled_total{{{Q}}}": "0x120"},),
    ),
    "QueuePromotionLate": Case(
        {f"credstream_queue_due{{{Q}}}": "3x120", PAUSED: "0x120"},
        # Due now and then is how it should be.
        ({f"credstream_queue_due{{{Q}}}": "3 0 3 0 3 0" + " 3 0" * 57}, {PAUSED: "1x120"}),
    ),
    "QueuePausedLong": Case({PAUSED: "1x120"}, ({PAUSED: "0x60 1x60"},)),
    "QueueOutboxStuck": Case(
        {OUTBOX: "500x120"},
        ({OUTBOX: "5x120"},),
    ),
    "WorkersFull": Case(
        {
            f"credstream_worker_utilisation_ratio{{{Q}}}": "1x120",
            DEMAND: "10000x120",
            COMPLETED: "0+60x120",
        },
        ({f"credstream_worker_utilisation_ratio{{{Q}}}": "0.5x120"}, {DEMAND: "10x120"}),
    ),
    "RedisWritesRefused": Case(
        {f"credstream_redis_up{{{POD}}}": "0x120"}, ({f"credstream_redis_up{{{POD}}}": "1x120"},)
    ),
    "RedisFull": Case(
        {f'credstream_redis_errors_total{{{POD},kind="full"}}': "0+1x120"},
        (
            {f'credstream_redis_errors_total{{{POD},kind="full"}}': "0x120"},
            {
                f'credstream_redis_errors_total{{{POD},kind="full"}}': "0x120",
                f'credstream_redis_errors_total{{{POD},kind="lost"}}': "0+1x120",
            },
        ),
    ),
    "RedisSlow": Case(
        {f"credstream_redis_latency_seconds{{{POD}}}": "0.5x120"},
        ({f"credstream_redis_latency_seconds{{{POD}}}": "0.001x120"},),
    ),
    "DurabilityNotMet": Case(
        {f'credstream_durability_met{{{POD},level="strict"}}': "0x120"},
        ({f'credstream_durability_met{{{POD},level="strict"}}': "1x120"},),
    ),
    "EventLoopLate": Case(
        {f"credstream_event_loop_lag_seconds{{{POD}}}": "2x120"},
        ({f"credstream_event_loop_lag_seconds{{{POD}}}": "0.01x120"},),
    ),
    "GatewayErrors": Case({OK: "0+90x120", BROKEN: "0+10x120"}, ({BROKEN: "0+1x120"},)),
    "WebhooksFail": Case(
        {DELIVERED: "0+1x120", REFUSED: "0+9x120"},
        ({DELIVERED: "0+20x120"}, {DELIVERED: "0x120", REFUSED: "0x85 1x40"}),
    ),
    "MailRelayFails": Case({DEFERRED: "0+1x120"}, ({DEFERRED: "0x120"},)),
    "MetricsAbsent": Case({}, ({DEMAND: "0x120"},)),
    "RedisMemoryNearMax": Case(
        {
            f"redis_memory_used_bytes{{{POD}}}": "90x120",
            f"redis_memory_max_bytes{{{POD}}}": "100x120",
        },
        (
            {f"redis_memory_used_bytes{{{POD}}}": "50x120"},
            {f"redis_memory_max_bytes{{{POD}}}": "0x120"},
        ),
    ),
    "RedisEvicts": Case(
        {f"redis_evicted_keys_total{{{POD}}}": "0+1x120"},
        ({f"redis_evicted_keys_total{{{POD}}}": "0x120"},),
    ),
    "RedisAofFails": Case(
        {
            f"redis_aof_last_write_status{{{POD}}}": "0x120",
            f"redis_aof_last_bgrewrite_status{{{POD}}}": "1x120",
        },
        ({f"redis_aof_last_write_status{{{POD}}}": "1x120"},),
    ),
    "RedisReplicasMissing": Case(
        {f"redis_connected_slaves{{{POD}}}": "0x120"},
        ({f"redis_connected_slaves{{{POD}}}": "1x120"},),
    ),
}
