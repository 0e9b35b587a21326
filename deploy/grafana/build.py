# ruff: noqa: INP001
"""The dashboards, as data for Grafana 10 or newer; deploy/render.py writes them out."""

from typing import Any, NamedTuple

COLUMNS, WIDTH, HEIGHT = 2, 12, 8
IN = 'namespace=~"$namespace"'
OF = f'{IN},queue=~"$queue"'
EVERY = "$__rate_interval"


class Panel(NamedTuple):
    """One graph. `unit` is Grafana's name for it; `lines` are (expression, legend)."""

    title: str
    unit: str
    says: str
    lines: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str, where: str = OF) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[{EVERY}]))"


def _share(metric: str, by: str, which: str, where: str = OF) -> str:
    return f"{_rate(metric, by, f'{where},{which}')} / {_rate(metric, by, where)}"


def _quantile(share: float, metric: str, by: str = "queue", where: str = OF) -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', f'{by}, le', where)})"


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple((_quantile(p, metric), f"p{p * 100:g} {{{{queue}}}}") for p in (0.5, 0.95, 0.99))


def _most(metric: str, by: str = "queue", where: str = OF) -> str:
    return f"max by ({by}) ({metric}{{{where}}})"


OVERVIEW = (
    Panel(
        "Demand",
        "short",
        "Jobs that are due: waiting, delayed ones whose time has come, and running. Autoscalers "
        "follow this number.",
        ((_most("credstream_queue_demand"), "{{queue}}"),),
    ),
    Panel(
        "Jobs ended",
        "ops",
        "Jobs that reached completed or failed.",
        ((_rate("credstream_jobs_total", "queue, outcome"), "{{queue}} {{outcome}}"),),
    ),
    Panel(
        "Wait until the start, p95",
        "s",
        "How long the jobs that started had been waiting. The goal: 99 % within a minute.",
        ((_quantile(0.95, "credstream_job_wait_seconds"), "{{queue}}"),),
    ),
    Panel(
        "Share of jobs that fail",
        "percentunit",
        "Of the jobs that ended, those that became dead letters.",
        ((_share("credstream_jobs_total", "queue", 'outcome="failed"'), "{{queue}}"),),
    ),
    Panel(
        "Dead letters",
        "short",
        "Jobs in the dead-letter stream.",
        ((_most("credstream_queue_jobs", "queue", f'{OF},state="failed"'), "{{queue}}"),),
    ),
    Panel(
        "Worker processes",
        "short",
        "Processes that are registered for the queue.",
        ((_most("credstream_queue_workers"), "{{queue}}"),),
    ),
    Panel(
        "HTTP requests",
        "reqps",
        "Answers of the gateway by status.",
        ((_rate("credstream_http_requests_total", "status", IN), "{{status}}"),),
    ),
    Panel(
        "HTTP latency, p99",
        "s",
        "How long the gateway takes to answer, by route.",
        ((_quantile(0.99, "credstream_http_request_duration_seconds", "route", IN), "{{route}}"),),
    ),
    Panel(
        "Webhooks",
        "ops",
        "Attempts to deliver by what became of them.",
        ((_rate("credstream_webhook_attempts_total", "outcome", IN), "{{outcome}}"),),
    ),
    Panel(
        "E-mail",
        "ops",
        "Attempts to hand a message to the relay by what became of them.",
        ((_rate("credstream_mail_attempts_total", "outcome", IN), "{{outcome}}"),),
    ),
)

QUEUE = (
    Panel(
        "Jobs by state",
        "short",
        "How many jobs lie in each state.",
        ((_most("credstream_queue_jobs", "queue, state"), "{{queue}} {{state}}"),),
    ),
    Panel(
        "Oldest waiting job",
        "s",
        "The age of the job that has waited longest.",
        ((_most("credstream_queue_oldest_waiting_seconds"), "{{queue}}"),),
    ),
    Panel(
        "Wait until the start",
        "s",
        "From due to claimed, of the jobs that started.",
        _quantiles("credstream_job_wait_seconds"),
    ),
    Panel(
        "Duration of a run",
        "s",
        "From claimed to ended, of single attempts.",
        _quantiles("credstream_job_duration_seconds"),
    ),
    Panel(
        "Attempts",
        "ops",
        "Runs by what became of them; `released` at a shutdown, `lost` to another worker.",
        ((_rate("credstream_attempts_total", "queue, outcome"), "{{queue}} {{outcome}}"),),
    ),
    Panel(
        "Errors",
        "ops",
        "Failed runs by error code.",
        ((_rate("credstream_attempt_errors_total", "queue, code"), "{{queue}} {{code}}"),),
    ),
    Panel(
        "Dead letters by reason",
        "ops",
        "Jobs that were given up.",
        ((_rate("credstream_dead_letters_total", "queue, reason"), "{{queue}} {{reason}}"),),
    ),
    Panel(
        "Stalled jobs",
        "ops",
        "Jobs taken from a worker that died or hung.",
        ((_rate("credstream_jobs_stalled_total", "queue"), "{{queue}}"),),
    ),
    Panel(
        "Slots in use",
        "percentunit",
        "How full the workers are, over all processes.",
        ((f"avg by (queue) (credstream_worker_utilisation_ratio{{{OF}}})", "{{queue}}"),),
    ),
    Panel(
        "Due and owed",
        "short",
        "Delayed jobs whose time has come, and endings whose callback is not queued yet: both stay "
        "near zero while workers run.",
        (
            (_most("credstream_queue_due"), "due {{queue}}"),
            (_most("credstream_queue_outbox"), "callbacks {{queue}}"),
        ),
    ),
)

REDIS = (
    Panel(
        "Takes writes",
        "short",
        "1: every process can write.",
        ((f"min by (namespace) (credstream_redis_up{{{IN}}})", "{{namespace}}"),),
    ),
    Panel(
        "Latency of a write",
        "s",
        "As the processes see it; the slowest one.",
        ((_most("credstream_redis_latency_seconds", "namespace", IN), "{{namespace}}"),),
    ),
    Panel(
        "Errors",
        "ops",
        "What processes met: no connection, a lost reply, failing over, full, not allowed.",
        ((_rate("credstream_redis_errors_total", "kind", IN), "{{kind}}"),),
    ),
    Panel(
        "Event loop",
        "s",
        "How late the event loop of a process comes; the slowest one.",
        ((_most("credstream_event_loop_lag_seconds", "namespace", IN), "{{namespace}}"),),
    ),
    Panel(
        "Memory",
        "bytes",
        "Used, and the limit. Needs prometheus-redis-exporter, as all below.",
        (
            ("redis_memory_used_bytes", "used {{instance}}"),
            ("redis_memory_max_bytes", "limit {{instance}}"),
        ),
    ),
    Panel(
        "Commands",
        "ops",
        "Commands that Redis processed.",
        ((f"rate(redis_commands_processed_total[{EVERY}])", "{{instance}}"),),
    ),
    Panel(
        "Replicas",
        "short",
        "Replicas connected to the primary.",
        (("redis_connected_slaves", "{{instance}}"),),
    ),
    Panel(
        "Evicted keys",
        "short",
        "Must stay 0: a key that is thrown away is a job that is lost.",
        (("redis_evicted_keys_total", "{{instance}}"),),
    ),
)


def _target(number: int, line: tuple[str, str]) -> dict[str, str]:
    return {"refId": chr(ord("A") + number), "expr": line[0], "legendFormat": line[1]}


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": source,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            _target(n, line) | {"datasource": source} for n, line in enumerate(panel.lines)
        ],
    }


def _variable(name: str, expression: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": expression, "refId": name},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def _dashboard(name: str, title: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    known = "credstream_redis_up"
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "refresh": 1},
        _variable("namespace", f"label_values({known}, namespace)"),
    ]
    if any(OF in line[0] for panel in panels for line in panel.lines):
        variables.append(_variable("queue", "label_values(credstream_queue_demand, queue)"))
    return {
        "uid": f"credstream-{name}",
        "title": title,
        "tags": ["credstream"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


DASHBOARDS = {
    "overview.json": _dashboard("overview", "Credstream / Overview", OVERVIEW),
    "queue.json": _dashboard("queue", "Credstream / Queue", QUEUE),
    "redis.json": _dashboard("redis", "Credstream / Redis and processes", REDIS),
}
