"""The dashboard for whoever is called at night: does it act, what waits, what fails, what is away."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Panel, Query, Row, of, quantile, rate

_ERROR: Final = 'result="error"'
_TOO_MANY: Final = 'code="429"'
_NOW: Final = Row(
    "Now",
    (
        Panel(
            "Acting",
            "Whether anything is repaired. Stopped: by a person, because the switch can't be read, or because the "
            "admission policies are not in place; the alert says which.",
            (Query(f"max({of('kubernaut_acting_stopped')})"),),
            "stat",
            levels=(1, 1),
            runbook="does-not-act",
            width=4,
            height=4,
            words={"0": "yes", "1": "STOPPED"},
        ),
        Panel(
            "Replicas",
            "Replicas of the operator that are scraped.",
            (Query(f"count({of('kubernaut_shards_held')})"),),
            "stat",
            levels=(1, 0.5),
            runbook="absent",
            width=4,
            height=4,
        ),
        Panel(
            "Since a worker proved itself",
            "Of the replica of which it is longest ago. /healthz fails at 20 s.",
            (Query(f"max(time() - {of('kubernaut_heartbeat_timestamp_seconds')})"),),
            "stat",
            "s",
            levels=(20, 60),
            runbook="hangs",
            width=4,
            height=4,
        ),
        Panel(
            "Shards without a replica",
            "Targets of these shards are not repaired.",
            (Query(f"max({of('kubernaut_shards')}) - sum({of('kubernaut_shards_held')})"),),
            "stat",
            levels=(1, 1),
            runbook="shards-not-held",
            width=4,
            height=4,
        ),
        Panel(
            "Open breakers",
            "Services that do not answer Kubernaut; which they are stands below.",
            (Query(f"sum(max by (dependency) ({of('kubernaut_breaker_open')}))"),),
            "stat",
            levels=(1, 1),
            runbook="breaker-open",
            width=4,
            height=4,
        ),
        Panel(
            "Longest without a step",
            "Of the live run that stands still for longest, though no person, guard or wait of its own holds it.",
            (Query(f"max({of('kubernaut_runs_longest_unmoved_seconds')})"),),
            "stat",
            "s",
            levels=(900, 3600),
            runbook="runs-stuck",
            width=4,
            height=4,
        ),
        Panel(
            "Live runs",
            "Runs that are not finished.",
            (Query(f"sum({of('kubernaut_runs_live')})"),),
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Runs that wait for a person",
            "To approve, or to say what becomes of a failed step.",
            (Query(f"sum({of('kubernaut_approvals_waiting')})"),),
            "stat",
            levels=(1, 10),
            runbook="approvals-wait",
            width=4,
            height=4,
        ),
        Panel(
            "Longest wait for a person",
            "Of the run that has waited for longest.",
            (Query(f"max({of('kubernaut_approvals_longest_wait_seconds')})"),),
            "stat",
            "s",
            levels=(300, 600),
            runbook="approvals-wait",
            width=4,
            height=4,
        ),
        Panel(
            "Mirror lag",
            "For how long the oldest finished run has waited for Postgres. None is deleted meanwhile.",
            (Query(f"max({of('kubernaut_mirror_lag_seconds')})"),),
            "stat",
            "s",
            levels=(60, 900),
            runbook="mirror-lags",
            width=4,
            height=4,
        ),
        Panel(
            "Runs spooled, last hour",
            "Deleted while Postgres was away; they wait on an operator's disk.",
            (Query(f"sum(increase({of('kubernaut_mirror_spooled_runs_total')}[1h]))"),),
            "stat",
            levels=(1, 1),
            runbook="runs-spooled",
            width=4,
            height=4,
        ),
        Panel(
            "Switch entries not understood",
            "A guard that is not understood lets nothing begin where it would hold.",
            (Query(f"max({of('kubernaut_guards_invalid')} + {of('kubernaut_flags_invalid')})"),),
            "stat",
            levels=(1, 1),
            runbook="switch-not-understood",
            width=4,
            height=4,
        ),
    ),
)
_RUNS: Final = Row(
    "Runs",
    (
        Panel(
            "Runs finished, by verdict",
            "A minute. NotFixed and Inconclusive that grow: see the other dashboard for the Workflows.",
            (Query(f"60 * sum by (verdict) ({rate('kubernaut_runs_finished_total')})", "{{verdict}}"),),
            unit="cpm",
            stacked=True,
        ),
        Panel(
            "Runs that wait",
            "For a person, for a target that another run holds, for units of scarce resources.",
            (
                Query(f"sum({of('kubernaut_runs_live')})", "live"),
                Query(f"sum({of('kubernaut_approvals_waiting')})", "for a person"),
                Query(f"sum({of('kubernaut_target_lock_waiters')})", "for a target"),
                Query(
                    f"sum({of('kubernaut_capacity_waiting_steps')}) or vector(0)", "for scarce units (steps)"
                ),
            ),
            runbook="runs-stuck",
        ),
        Panel(
            "Runs that can't be read",
            "Such as those of a later version. They are left alone, and all others go on.",
            (Query(f"max({of('kubernaut_runs_unreadable')})", "runs"),),
            runbook="runs-unreadable",
        ),
        Panel(
            "Duration of runs",
            "From the first step to the end, verification included.",
            (
                Query(quantile(0.5, "kubernaut_run_duration_seconds"), "p50"),
                Query(quantile(0.95, "kubernaut_run_duration_seconds"), "p95"),
            ),
            unit="s",
        ),
        Panel(
            "Steps, by action",
            "Effects performed a second.",
            (Query(f"sum by (action) ({rate('kubernaut_steps_total')})", "{{action}}"),),
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Steps, by result",
            "Effects performed a second, by what became of them.",
            (Query(f"sum by (result) ({rate('kubernaut_steps_total')})", "{{result}}"),),
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Duration of steps, p95 by action",
            "How long performing an action took, waiting for the API server included.",
            (Query(quantile(0.95, "kubernaut_step_duration_seconds", by="action"), "{{action}}"),),
            unit="s",
        ),
    ),
)
_QUEUE: Final = Row(
    "Queue and reconciliation",
    (
        Panel(
            "Queue",
            "Keys that wait for a worker, and those that wait for their time. A depth that stays is too much work.",
            (
                Query(f"sum({of('kubernaut_workqueue_depth')})", "waiting"),
                Query(f"sum({of('kubernaut_workqueue_delayed')})", "delayed"),
            ),
        ),
        Panel(
            "Wait for a worker, p99 by priority",
            "Of one in eight keys.",
            (
                Query(
                    quantile(0.99, "kubernaut_workqueue_queue_duration_seconds", by="priority"),
                    "{{priority}}",
                ),
            ),
            unit="s",
        ),
        Panel(
            "Workers",
            "Busy ones of all there are (setting workers).",
            (
                Query(f"sum({of('kubernaut_active_workers')})", "busy"),
                Query(f"sum({of('kubernaut_max_concurrent_reconciles')})", "all"),
            ),
        ),
        Panel(
            "Reconciliations, by kind",
            "A second; keys added to the queue beside them.",
            (
                Query(f"sum by (kind) ({rate('kubernaut_reconcile_total')})", "{{kind}}"),
                Query(f"sum({rate('kubernaut_workqueue_adds_total')})", "added"),
            ),
            unit="ops",
        ),
        Panel(
            "Reconciliation errors, by kind",
            "A second. Each is tried again later, and the log says why.",
            (
                Query(
                    f"sum by (kind) ({rate('kubernaut_reconcile_total', _ERROR)})",
                    "{{kind}}",
                ),
            ),
            unit="ops",
            runbook="runs-stuck",
        ),
        Panel(
            "Duration of reconciliations, p99 by kind",
            "A worker stays with a run while its effects are under way.",
            (
                Query(quantile(0.99, "kubernaut_reconcile_time_seconds", by="kind"), "{{kind}}"),
                Query(
                    f"max({of('kubernaut_workqueue_longest_running_processor_seconds')})",
                    "longest under way",
                ),
            ),
            unit="s",
        ),
    ),
)
_SERVICES: Final = Row(
    "API server and Postgres",
    (
        Panel(
            "Requests to the API server, by status",
            "A second; error where no answer came. 409 is a lost race, which is decided anew.",
            (Query(f"sum by (code) ({rate('kubernaut_rest_client_requests_total')})", "{{code}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Duration of requests, p99 by method",
            "Without watches.",
            (
                Query(
                    quantile(0.99, "kubernaut_rest_client_request_duration_seconds", by="method"),
                    "{{method}}",
                ),
            ),
            unit="s",
            levels=(1, 5),
            runbook="breaker-open",
        ),
        Panel(
            "Throttling",
            "Answers 429 of the API server, and requests that were not sent because it had asked to wait or its "
            "breaker is open; a second.",
            (
                Query(f"sum({rate('kubernaut_rest_client_requests_total', _TOO_MANY)})", "answered 429"),
                Query(
                    f"sum by (reason) ({rate('kubernaut_rest_client_withheld_requests_total')})",
                    "not sent: {{reason}}",
                ),
            ),
            unit="reqps",
            runbook="breaker-open",
        ),
        Panel(
            "Writes of the engine, by purpose",
            "Mutating requests a second, without those of actions.",
            (Query(f"sum by (purpose) ({rate('kubernaut_api_writes_total')})", "{{purpose}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Breakers",
            "1 while the breaker of a service is open or tries again.",
            (Query(f"max by (dependency) ({of('kubernaut_breaker_open')})", "{{dependency}}"),),
            levels=(1, 1),
            runbook="breaker-open",
        ),
        Panel(
            "Mirror",
            "Finished runs and bundles that wait for Postgres, and runs stored a minute.",
            (
                Query(f"sum({of('kubernaut_mirror_backlog')})", "runs waiting"),
                Query(f"sum({of('kubernaut_bundle_backlog')})", "bundles waiting"),
                Query(f"60 * sum({rate('kubernaut_mirror_runs_total')})", "runs stored, a minute"),
            ),
            runbook="mirror-lags",
        ),
    ),
)
_AROUND: Final = Row(
    "Replicas, alerts, people and GitOps",
    (
        Panel(
            "Shards held, by replica",
            "The global one among them. Replicas divide them evenly.",
            (Query(of("kubernaut_shards_held"), "{{pod}} {{instance}}"),),
            stacked=True,
            runbook="shards-not-held",
        ),
        Panel(
            "Shards taken, and renewals that failed",
            "Within the time looked at by one point. Taken: how the shard came free.",
            (
                Query(
                    f"sum by (how) (increase({of('kubernaut_shard_takeovers_total')}[$__rate_interval]))",
                    "{{how}}",
                ),
                Query(
                    f"sum(increase({of('kubernaut_lease_renew_failures_total')}[$__rate_interval]))",
                    "renewals that failed",
                ),
            ),
            runbook="shards-not-held",
        ),
        Panel(
            "Alerts received, by outcome",
            "A minute.",
            (Query(f"60 * sum by (outcome) ({rate('kubernaut_alerts_total')})", "{{outcome}}"),),
            unit="cpm",
            stacked=True,
        ),
        Panel(
            "Notifications of Alertmanager, by status",
            "A second. 503 is told again by Alertmanager; 400, 401 and 413 are not, or in vain.",
            (Query(f"sum by (code) ({rate('kubernaut_alert_requests_total')})", "{{code}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "From a notification to its stored incidents",
            "Alertmanager is answered only then.",
            (
                Query(quantile(0.5, "kubernaut_alert_request_duration_seconds"), "p50"),
                Query(quantile(0.99, "kubernaut_alert_request_duration_seconds"), "p99"),
            ),
            unit="s",
        ),
        Panel(
            "Watches",
            "For how long the replica's own lease has not come back through a watch, and no watch of a kind has said "
            "anything. /healthz fails at 180 s; the API server says something each minute.",
            (
                Query(f"max({of('kubernaut_watch_canary_age_seconds')})", "canary"),
                Query(f"max by (kind) ({of('kubernaut_watch_silence_seconds')})", "silence: {{kind}}"),
            ),
            unit="s",
            levels=(60, 180),
            runbook="hangs",
        ),
        Panel(
            "Notifications, by outcome",
            "Attempts a minute to tell that somebody is waited for, and those that are still to be sent.",
            (
                Query(
                    f"60 * sum by (channel, outcome) ({rate('kubernaut_notifications_total')})",
                    "{{channel}}: {{outcome}}",
                ),
                Query(
                    f"sum by (channel) ({of('kubernaut_notifications_pending')})",
                    "{{channel}}: still to be sent",
                ),
            ),
            runbook="notifications-fail",
        ),
        Panel(
            "Syncs paused",
            "Syncs of Argo CD and Flux that are paused now, and those of them that should go on and do not.",
            (
                Query(f"max({of('kubernaut_sync_pauses_held')})", "paused"),
                Query(f"max({of('kubernaut_sync_pauses_overdue')})", "overdue"),
            ),
            runbook="sync-pause-overdue",
        ),
    ),
)
BOARD: Final = Board(
    "operations",
    "Kubernaut / Operations",
    "Whether Kubernaut acts, what waits, what fails, and what it depends on.",
    ("kubernaut_heartbeat_timestamp_seconds",),
    (_NOW, _RUNS, _QUEUE, _SERVICES, _AROUND),
)
