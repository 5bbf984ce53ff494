"""Metrics: base units, bounded labels, named like controller-runtime's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.reasons import Reason

# When each series was made: a third of the page, which nobody asks for, and pages are written in the event loop.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY: Final = CollectorRegistry(auto_describe=True)
#: how a run without a verdict is shown
NO_VERDICT: Final = "None"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)

RECONCILES: Final = Counter(
    "kubernaut_reconcile",
    "Reconciliations by kind and result (success, error).",
    ["kind", "result"],
    registry=REGISTRY,
)
RECONCILE_SECONDS: Final = Histogram(
    "kubernaut_reconcile_time_seconds",
    "Duration of one reconciliation.",
    ["kind"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
QUEUE_DEPTH: Final = Gauge("kubernaut_workqueue_depth", "Keys waiting for a worker.", registry=REGISTRY)
QUEUE_DELAYED: Final = Gauge("kubernaut_workqueue_delayed", "Keys waiting for their time.", registry=REGISTRY)
QUEUE_ADDS: Final = Counter(
    "kubernaut_workqueue_adds",
    "Keys put into the queue, each counted once while it waits.",
    registry=REGISTRY,
)
QUEUE_LONGEST: Final = Gauge(
    "kubernaut_workqueue_longest_running_processor_seconds",
    "For how long the worker that has been with its key for longest has been with it.",
    registry=REGISTRY,
)
QUEUE_UNFINISHED: Final = Gauge(
    "kubernaut_workqueue_unfinished_work_seconds",
    "For how long all workers together have been with the keys they are with.",
    registry=REGISTRY,
)
WORKERS: Final = Gauge("kubernaut_max_concurrent_reconciles", "Workers there are.", registry=REGISTRY)
WORKERS_BUSY: Final = Gauge("kubernaut_active_workers", "Workers that are with a key.", registry=REGISTRY)
QUEUE_WAIT: Final = Histogram(
    "kubernaut_workqueue_queue_duration_seconds",
    "How long one of eight keys waited for a worker, by its priority: low (below 0, or finished), normal, high.",
    ["priority"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
RUNS_LIVE: Final = Gauge("kubernaut_runs_live", "Runs that are not finished.", registry=REGISTRY)
RUNS_UNREADABLE: Final = Gauge(
    "kubernaut_runs_unreadable",
    "Runs that are not driven because they can't be read, such as those of a later version; the log names them.",
    registry=REGISTRY,
)
APPROVALS_WAITING: Final = Gauge(
    "kubernaut_approvals_waiting",
    "Runs that wait until somebody approves, or says what becomes of a failed step.",
    registry=REGISTRY,
)
APPROVALS_LONGEST: Final = Gauge(
    "kubernaut_approvals_longest_wait_seconds",
    "For how long the run that has waited for a person for longest has waited; 0 where none does.",
    registry=REGISTRY,
)
RUNS_UNMOVED: Final = Gauge(
    "kubernaut_runs_longest_unmoved_seconds",
    "For how long no step has begun or ended in the live run of which that is longest; runs that wait for a person, "
    "by a step of theirs or for a guard do not count, nor do any while acting is stopped.",
    registry=REGISTRY,
)
RUNS_FINISHED: Final = Counter(
    "kubernaut_runs_finished", "Finished runs by phase and verdict.", ["phase", "verdict"], registry=REGISTRY
)
WORKFLOW_RUNS: Final = Counter(
    "kubernaut_workflow_runs",
    "Finished runs by Workflow (namespace/name; at most 50 are shown, the others together as others) and verdict.",
    ["workflow", "verdict"],
    registry=REGISTRY,
)
RUN_SECONDS: Final = Histogram(
    "kubernaut_run_duration_seconds",
    "Duration of finished runs by verdict.",
    ["verdict"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
STEPS: Final = Counter(
    "kubernaut_steps", "Effects performed, by action and result.", ["action", "result"], registry=REGISTRY
)
STEP_SECONDS: Final = Histogram(
    "kubernaut_step_duration_seconds",
    "Duration of performing one action.",
    ["action"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
WRITES: Final = Counter(
    "kubernaut_api_writes",
    "Mutating requests sent by the engine, by purpose.",
    ["purpose"],
    registry=REGISTRY,
)
API_REQUESTS: Final = Counter(
    "kubernaut_rest_client_requests",
    "Requests to the API server by method and status; the status is error where no answer came.",
    ["method", "code"],
    registry=REGISTRY,
)
API_SECONDS: Final = Histogram(
    "kubernaut_rest_client_request_duration_seconds",
    "Duration of a request to the API server, without watches.",
    ["method"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
API_WITHHELD: Final = Counter(
    "kubernaut_rest_client_withheld_requests",
    "Requests to the API server that were not sent, because it had asked to wait (throttled) or its breaker was open "
    "(breaker).",
    ["reason"],
    registry=REGISTRY,
)
ACCESS_REVIEWS: Final = Counter(
    "kubernaut_access_reviews",
    "Requests by which it is found out what accounts may do, by what is asked: rules, access, account, keepers.",
    ["asked"],
    registry=REGISTRY,
)
ACTING_STOPPED: Final = Gauge(
    "kubernaut_acting_stopped", "1 while the operator may not act, by reason.", ["reason"], registry=REGISTRY
)
FEATURE_ENABLED: Final = Gauge(
    "kubernaut_feature_enabled",
    "1 while a feature is on, 0 while its flag is off.",
    ["feature"],
    registry=REGISTRY,
)
FLAGS_INVALID: Final = Gauge(
    "kubernaut_flags_invalid", "Entries of the switch's ConfigMap that are not understood.", registry=REGISTRY
)
GUARD_LEVELS: Final = Gauge(
    "kubernaut_guard_levels",
    "Entries of the switch's ConfigMap with guards of the cluster or a namespace.",
    registry=REGISTRY,
)
GUARDS_INVALID: Final = Gauge(
    "kubernaut_guards_invalid",
    "Those of them that are not understood, so that nothing begins where they hold.",
    registry=REGISTRY,
)
LOCKS: Final = Gauge("kubernaut_target_locks", "Targets held by live runs.", registry=REGISTRY)
LOCK_WAITERS: Final = Gauge(
    "kubernaut_target_lock_waiters", "Runs that wait for a target which another run holds.", registry=REGISTRY
)
CAPACITY: Final = Gauge(
    "kubernaut_capacity_units",
    "Units there are of a scarce resource (at most 50 resources are shown).",
    ["resource"],
    registry=REGISTRY,
)
CAPACITY_USED: Final = Gauge(
    "kubernaut_capacity_units_used",
    "Units of a scarce resource that steps hold.",
    ["resource"],
    registry=REGISTRY,
)
CAPACITY_WAITING: Final = Gauge(
    "kubernaut_capacity_waiting_steps",
    "Steps of this replica's runs that wait for units of a scarce resource.",
    ["resource"],
    registry=REGISTRY,
)
MIRROR_BACKLOG: Final = Gauge(
    "kubernaut_mirror_backlog", "Finished runs waiting to be stored in the history.", registry=REGISTRY
)
MIRROR_LAG: Final = Gauge(
    "kubernaut_mirror_lag_seconds",
    "For how long the finished run that has waited for the history for longest has waited, since this replica "
    "started at most; 0 where none waits.",
    registry=REGISTRY,
)
BUNDLE_BACKLOG: Final = Gauge(
    "kubernaut_bundle_backlog",
    "Diagnostics bundles on disk, waiting to be stored in the history.",
    registry=REGISTRY,
)
MIRRORED: Final = Counter("kubernaut_mirror_runs", "Runs stored in the history.", registry=REGISTRY)
SPOOLED: Final = Counter(
    "kubernaut_mirror_spooled_runs",
    "Runs written to the disk spool because their deletion could not wait for the history.",
    registry=REGISTRY,
)
REMEMBERED: Final = Gauge(
    "kubernaut_remembered_objects",
    "Objects with the label kubernaut.io/remember, by how they fare (Healthy, Unhealthy, Idle, Unseen).",
    ["health"],
    registry=REGISTRY,
)
BREAKER: Final = Gauge(
    "kubernaut_breaker_open",
    "1 while the circuit breaker of what Kubernaut depends on is open or half-open.",
    ["dependency"],
    registry=REGISTRY,
)
BREAKER_STATE: Final = Gauge(
    "kubernaut_breaker_state",
    "1 for the state (closed, open, half-open) that the circuit breaker of what Kubernaut depends on is in, else 0.",
    ["dependency", "state"],
    registry=REGISTRY,
)
ALERTS: Final = Counter(
    "kubernaut_alerts",
    "Alerts that were told, by what became of them: started, joined or ignored (once a Workflow), resolved, "
    "unmatched (no Workflow), unresolved (no target), refused (no run can be made), deferred (told again later).",
    ["outcome"],
    registry=REGISTRY,
)
ALERT_REQUESTS: Final = Counter(
    "kubernaut_alert_requests",
    "Requests to the receiver of alerts, by the status they got; tls where TLS refused the connection, as without a "
    "certificate that is asked for.",
    ["code"],
    registry=REGISTRY,
)
ALERT_SECONDS: Final = Histogram(
    "kubernaut_alert_request_duration_seconds",
    "From the arrival of a notification until all its incidents are stored.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
ALERTS_TRUNCATED: Final = Counter(
    "kubernaut_alerts_truncated",
    "Alerts that Alertmanager left out of its notifications (max_alerts of its receiver).",
    registry=REGISTRY,
)
OWNED_CHANGES: Final = Counter(
    "kubernaut_owned_changes",
    "Changes of fields that another manager would set back, by whose they are and by the mode of guards.gitOps.",
    ["tool", "mode"],
    registry=REGISTRY,
)
PROPOSALS: Final = Counter(
    "kubernaut_proposals",
    "Changes that were proposed instead of made, by what became of telling the webhook (sent, refused, unsent).",
    ["webhook"],
    registry=REGISTRY,
)
NOTIFICATIONS: Final = Counter(
    "kubernaut_notifications",
    "Attempts to tell that a person is waited for, by channel (webhook, slack, email) and outcome: sent, refused (it "
    "will not be taken as it is), unsent (nobody answered). What is not sent is tried again.",
    ["channel", "outcome"],
    registry=REGISTRY,
)
NOTIFICATIONS_PENDING: Final = Gauge(
    "kubernaut_notifications_pending",
    "Notifications that a channel is still to be sent, those that failed and are tried again included.",
    ["channel"],
    registry=REGISTRY,
)
TRACE_SPANS: Final = Counter(
    "kubernaut_trace_spans",
    "Spans of traces, by what became of them: exported, failed (no collector took them), dropped (too many waited).",
    ["outcome"],
    registry=REGISTRY,
)
PAUSES: Final = Counter(
    "kubernaut_sync_pauses",
    "Syncs of Argo CD and Flux that were paused, that go on, and attempts to let them go on that failed.",
    ["what"],
    registry=REGISTRY,
)
PAUSES_HELD: Final = Gauge(
    "kubernaut_sync_pauses_held", "Syncs that are paused now, by run.", registry=REGISTRY
)
PAUSES_OVERDUE: Final = Gauge(
    "kubernaut_sync_pauses_overdue",
    "Paused syncs that should go on and do not, because acting is stopped or the account may not.",
    registry=REGISTRY,
)
CHANGES_UNDONE: Final = Counter(
    "kubernaut_changes_undone",
    "Changes that were not made because another manager had undone the same before.",
    registry=REGISTRY,
)
HEARTBEAT: Final = Gauge(
    "kubernaut_heartbeat_timestamp_seconds", "When a worker last proved that it works.", registry=REGISTRY
)
WATCH_CANARY: Final = Gauge(
    "kubernaut_watch_canary_age_seconds",
    "For how long what this replica renews (its lease) has not come back through a watch while it could be renewed.",
    registry=REGISTRY,
)
WATCH_MISSED: Final = Counter(
    "kubernaut_watch_missed_events",
    "Versions of objects that a list has shown and that the watch of their kind did not bring within 10 s.",
    ["kind"],
    registry=REGISTRY,
)
WATCH_SILENCE: Final = Gauge(
    "kubernaut_watch_silence_seconds",
    "For how long nothing has come of a kind's watch; the API server says something about each minute.",
    ["kind"],
    registry=REGISTRY,
)
EVENTS_WITHHELD: Final = Counter(
    "kubernaut_events_withheld",
    "Events of good runs that were not written because too many came at once.",
    registry=REGISTRY,
)
EXPIRED: Final = Counter(
    "kubernaut_runs_expired", "Finished runs deleted after their TTL.", registry=REGISTRY
)
SHARDS: Final = Gauge(
    "kubernaut_shards", "Shards that have to be held, the global one among them.", registry=REGISTRY
)
SHARDS_HELD: Final = Gauge(
    "kubernaut_shards_held",
    "Shards that this replica holds, the global one among them.",
    registry=REGISTRY,
)
LEASE_RENEW_FAILURES: Final = Counter(
    "kubernaut_lease_renew_failures", "Renewals of this replica's lease that failed.", registry=REGISTRY
)
TAKEOVERS: Final = Counter(
    "kubernaut_shard_takeovers",
    "Shards taken, by how they came free (given: by another replica, own: held before a restart, expired).",
    ["how"],
    registry=REGISTRY,
)


def show_breaker(dependency: str, state: Callable[[], str]) -> None:
    """Have the state of the circuit breaker (closed, open, half-open) of what we depend on shown in the metrics."""
    BREAKER.labels(dependency).set_function(lambda: state() != "closed")
    for name in ("closed", "open", "half-open"):
        BREAKER_STATE.labels(dependency, name).set_function(partial(lambda name: state() == name, name))


def _from_zero() -> None:
    """Have series that are known beforehand there from the start.

    For Prometheus, what first shows as 1 has not increased, and what never showed is not 0.
    """
    verdicts = (*(verdict.value for verdict in Verdict), NO_VERDICT)
    for kind in ("Run", "Workflow", "Departure", "Heartbeat"):
        RECONCILE_SECONDS.labels(kind)
        for result in ("success", "error"):
            RECONCILES.labels(kind, result)
    for verdict in verdicts:
        RUN_SECONDS.labels(verdict)
        for phase in RunPhase:
            if phase.final:
                RUNS_FINISHED.labels(phase.value, verdict)
    for method in ("GET", "POST", "PATCH", "DELETE"):
        API_SECONDS.labels(method)
        for code in ("200", "409", "429", "error"):
            API_REQUESTS.labels(method, code)
    for why in ("throttled", "breaker"):
        API_WITHHELD.labels(why)
    for purpose in ("status", "event", "finalizer", "snapshot", "workflow", "capacity", "alert", "replace"):
        WRITES.labels(purpose)
    for reason in (Reason.STOPPED, Reason.POLICIES_MISSING):
        ACTING_STOPPED.labels(reason.value)
    for outcome in (
        "started",
        "joined",
        "ignored",
        "resolved",
        "unmatched",
        "unresolved",
        "refused",
        "deferred",
    ):
        ALERTS.labels(outcome)
    for code in ("200", "400", "401", "403", "413", "500", "503", "tls"):
        ALERT_REQUESTS.labels(code)
    for how in ("given", "own", "expired"):
        TAKEOVERS.labels(how)
    for what in ("paused", "resumed", "failed"):
        PAUSES.labels(what)
    for told in ("sent", "refused", "unsent"):
        PROPOSALS.labels(told)
        for channel in ("webhook", "slack", "email"):
            NOTIFICATIONS.labels(channel, told)
            NOTIFICATIONS_PENDING.labels(channel)


_from_zero()
