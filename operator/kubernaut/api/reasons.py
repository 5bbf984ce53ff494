"""Why something was refused or failed: every reason has a category and a fix that a person can act on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Category(StrEnum):
    """The kind of trouble, and so who can mend it."""

    CONFIGURATION = "Configuration"
    PERMISSION = "Permission"
    PRECONDITION = "Precondition"
    TIMEOUT = "Timeout"
    CONFLICT = "Conflict"
    INFRASTRUCTURE = "Infrastructure"
    EFFECT = "Effect"
    HUMAN = "Human"
    LIMIT = "Limit"


class Reason(StrEnum):
    """Machine-readable reasons in conditions, step records and Events."""

    # A Workflow that is, or is not, ready.
    VALID = "Valid"
    CYCLE = "Cycle"
    UNKNOWN_STEP = "UnknownStep"
    UNKNOWN_ACTION = "UnknownAction"
    INVALID_EXPRESSION = "InvalidExpression"
    INVALID_PARAMETERS = "InvalidParameters"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_TEMPLATE = "UnknownTemplate"
    DRAFT = "Draft"
    DEPRECATED = "Deprecated"
    GRANTED = "Granted"
    REVIEW_FAILED = "ReviewFailed"
    # A run that can't start, or waits.
    WORKFLOW_NOT_FOUND = "WorkflowNotFound"
    WORKFLOW_NOT_READY = "WorkflowNotReady"
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_REPLACED = "TargetReplaced"
    TARGET_BUSY = "TargetBusy"
    STOPPED = "Stopped"
    PAUSED = "Paused"
    POLICIES_MISSING = "PoliciesMissing"
    LEASE_LOST = "LeaseLost"
    FEATURE_OFF = "FeatureOff"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    CONCURRENT_RUN = "ConcurrentRun"
    REPLACED = "Replaced"
    RETRY_REFUSED = "RetryRefused"
    MIGRATION_REFUSED = "MigrationRefused"
    NEEDS_PERSON = "NeedsPerson"
    # What a guard says.
    COOLDOWN = "Cooldown"
    BACKING_OFF = "BackingOff"
    TOO_MANY_RUNS = "TooManyRuns"
    STORM = "Storm"
    OUTSIDE_CHANGE_WINDOW = "OutsideChangeWindow"
    ALERT_FIRING = "AlertFiring"
    ALERTS_UNKNOWN = "AlertsUnknown"
    TOO_FEW_HEALTHY = "TooFewHealthy"
    GUARDS_INVALID = "GuardsInvalid"
    PROTECTED = "Protected"
    APPROVAL_REQUIRED = "ApprovalRequired"
    KEPT_BY_ANOTHER = "KeptByAnother"
    PROPOSED = "Proposed"
    UNDONE_BY_ANOTHER = "UndoneByAnother"
    # A step that failed.
    MISSING_RIGHT = "MissingRight"
    BEYOND_NAMESPACE = "BeyondNamespace"
    NOT_FOUND = "NotFound"
    PRECONDITION_FAILED = "PreconditionFailed"
    NOTHING_TO_ROLL_BACK_TO = "NothingToRollBackTo"
    NOTHING_REMEMBERED = "NothingRemembered"
    HISTORY_AWAY = "HistoryAway"
    MEMORY_UNREADABLE = "MemoryUnreadable"
    SEVERAL_SUSPECTS = "SeveralSuspects"
    CHANGED_SINCE = "ChangedSince"
    CONFLICT = "Conflict"
    FIELDS_OWNED_BY_OTHERS = "FieldsOwnedByOthers"
    REJECTED = "Rejected"
    UNAVAILABLE = "Unavailable"
    UNKNOWN_OUTCOME = "UnknownOutcome"
    ADDRESS_REFUSED = "AddressRefused"
    UNEXPECTED_ANSWER = "UnexpectedAnswer"
    IN_PROGRESS = "InProgress"
    STEP_TIMEOUT = "StepTimeout"
    RUN_TIMEOUT = "RunTimeout"
    EXPRESSION_FAILED = "ExpressionFailed"
    OUTPUT_TOO_LARGE = "OutputTooLarge"
    DEPENDENCY_FAILED = "DependencyFailed"
    WHEN_FALSE = "WhenFalse"
    APPROVAL_DENIED = "ApprovalDenied"
    APPROVAL_EXPIRED = "ApprovalExpired"
    CANCELLED = "Cancelled"
    ALERT_RESOLVED = "AlertResolved"
    SUBFLOW_FAILED = "SubflowFailed"
    JOB_FAILED = "JobFailed"
    SUBFLOW_TOO_DEEP = "SubflowTooDeep"
    TOO_MANY_ITEMS = "TooManyItems"
    FENCED = "Fenced"
    INTERNAL = "InternalError"
    # A run that moves or is done.
    RUNNING = "Running"
    WAITING = "Waiting"
    VERIFYING = "Verifying"
    COMPLETED = "Completed"
    STEP_FAILED = "StepFailed"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_FAILED = "RollbackFailed"
    EXPECTATION_MET = "ExpectationMet"
    EXPECTATION_NOT_MET = "ExpectationNotMet"
    ALERT_RESOLVED_AFTER = "AlertResolvedAfter"
    ALERT_STILL_FIRING = "AlertStillFiring"
    ALERT_UNKNOWN = "AlertUnknown"
    METRIC_NOT_MET = "MetricNotMet"
    METRIC_MISSING = "MetricMissing"
    METRIC_REFUSED = "MetricRefused"
    METRIC_NOT_ASKED = "MetricNotAsked"
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    NO_EXPECTATION = "NoExpectation"
    NO_CASE = "NoCase"
    CARRIED_OVER = "CarriedOver"
    SKIPPED_BY_PERSON = "SkippedByPerson"
    DRY_RUN = "DryRun"
    FINALLY_FAILED = "FinallyFailed"


@dataclass(frozen=True, slots=True)
class ReasonInfo:
    """What kind of trouble a reason is, what a person does about it, and whether trying again may help."""

    category: Category
    fix: str
    transient: bool = False


_C = Category
REASONS: Final[dict[Reason, ReasonInfo]] = {
    Reason.CYCLE: ReasonInfo(_C.CONFIGURATION, "Remove one dependsOn of the path named."),
    Reason.UNKNOWN_STEP: ReasonInfo(_C.CONFIGURATION, "Name a step of this Workflow."),
    Reason.UNKNOWN_ACTION: ReasonInfo(_C.CONFIGURATION, "Name an action listed by `kubernaut actions`."),
    Reason.INVALID_EXPRESSION: ReasonInfo(_C.CONFIGURATION, "Correct the CEL expression at the path named."),
    Reason.INVALID_PARAMETERS: ReasonInfo(_C.CONFIGURATION, "Correct the parameter named; see its type."),
    Reason.INVALID_SPEC: ReasonInfo(_C.CONFIGURATION, "Correct the field named and apply the object again."),
    Reason.WORKFLOW_NOT_FOUND: ReasonInfo(
        _C.CONFIGURATION, "Create the Workflow in the run's namespace, then start a new run."
    ),
    Reason.WORKFLOW_NOT_READY: ReasonInfo(
        _C.CONFIGURATION, "Mend what the Workflow's Ready condition says, then start a new run."
    ),
    Reason.SERVICE_ACCOUNT_NOT_FOUND: ReasonInfo(
        _C.PERMISSION, "Create the ServiceAccount and its Role, then start a new run."
    ),
    Reason.TARGET_NOT_FOUND: ReasonInfo(_C.CONFIGURATION, "Check the target's kind, name and namespace."),
    Reason.TARGET_REPLACED: ReasonInfo(
        _C.PRECONDITION,
        "The target was deleted and made anew during the run; start a new run if still needed.",
    ),
    Reason.TARGET_BUSY: ReasonInfo(
        _C.CONFLICT, "Wait for the run that holds the target, or cancel it.", transient=True
    ),
    Reason.STOPPED: ReasonInfo(_C.HUMAN, "Run `kubernaut start` when acting is safe again.", transient=True),
    Reason.PAUSED: ReasonInfo(_C.HUMAN, "Set spec.control.paused to false to go on.", transient=True),
    Reason.POLICIES_MISSING: ReasonInfo(
        _C.PERMISSION, "Apply manifests/base: the admission policies and their bindings.", transient=True
    ),
    Reason.MISSING_RIGHT: ReasonInfo(
        _C.PERMISSION,
        "Grant the verb named to the Workflow's ServiceAccount (`kubernaut rbac` prints the Role), or use another.",
    ),
    Reason.BEYOND_NAMESPACE: ReasonInfo(
        _C.PERMISSION,
        "Have an administrator of the cluster label the namespace kubernaut.io/cluster-scoped: 'true', or run the "
        "Workflow in one that has the label.",
    ),
    Reason.NOT_FOUND: ReasonInfo(_C.PRECONDITION, "Check that the object named still exists."),
    Reason.PRECONDITION_FAILED: ReasonInfo(
        _C.PRECONDITION, "The cluster is not as the step needs it; look at the object named."
    ),
    Reason.NOTHING_TO_ROLL_BACK_TO: ReasonInfo(
        _C.PRECONDITION, "The Deployment has no earlier revision; apply a good one."
    ),
    Reason.NOTHING_REMEMBERED: ReasonInfo(
        _C.PRECONDITION,
        "Label the object kubernaut.io/remember: 'true' while it is well, and let the operator remember "
        "(KUBERNAUT_REMEMBER).",
    ),
    Reason.HISTORY_AWAY: ReasonInfo(
        _C.INFRASTRUCTURE,
        "Bring Postgres back, or correct KUBERNAUT_DSN; until then use an action that needs no history.",
        transient=True,
    ),
    Reason.MEMORY_UNREADABLE: ReasonInfo(
        _C.INFRASTRUCTURE,
        "Put the key that the message names back into the operator's keys (KUBERNAUT_ENCRYPTION_KEYS), below the "
        "first; if it is lost, what it encrypted is, too: repair the object by hand, and it is remembered anew.",
    ),
    Reason.SEVERAL_SUSPECTS: ReasonInfo(
        _C.PRECONDITION,
        "Look at the objects named and delete the one that blocks, or narrow kinds and window.",
    ),
    Reason.CHANGED_SINCE: ReasonInfo(
        _C.CONFLICT, "Someone else changed the field after the step; restore it by hand if still wanted."
    ),
    Reason.CONFLICT: ReasonInfo(
        _C.CONFLICT, "The object keeps being changed by others; try again later.", transient=True
    ),
    Reason.FIELDS_OWNED_BY_OTHERS: ReasonInfo(
        _C.CONFLICT, "Change the fields where the managers named keep them, or set force: true to take them."
    ),
    Reason.REJECTED: ReasonInfo(
        _C.PRECONDITION, "The API server refused the change; its message says which field and why."
    ),
    Reason.UNAVAILABLE: ReasonInfo(
        _C.INFRASTRUCTURE, "The API server did not answer; the step is tried again.", transient=True
    ),
    Reason.UNKNOWN_OUTCOME: ReasonInfo(
        _C.INFRASTRUCTURE, "Look at the object named: the effect may or may not have happened."
    ),
    Reason.ADDRESS_REFUSED: ReasonInfo(
        _C.PERMISSION, "Use another address, or have the operator's KUBERNAUT_HTTP_HOSTS name this one."
    ),
    Reason.UNEXPECTED_ANSWER: ReasonInfo(
        _C.EFFECT, "Look at the status told, and at the log of the server that was asked."
    ),
    Reason.STEP_TIMEOUT: ReasonInfo(_C.TIMEOUT, "Raise the step's timeout, or find what holds it up."),
    Reason.RUN_TIMEOUT: ReasonInfo(
        _C.TIMEOUT, "Raise spec.timeout of the Workflow, or find what holds it up."
    ),
    Reason.EXPRESSION_FAILED: ReasonInfo(
        _C.CONFIGURATION, "Guard the field with has(); the expression met an object that lacks it."
    ),
    Reason.OUTPUT_TOO_LARGE: ReasonInfo(
        _C.LIMIT, "Ask the action for less; all outputs of a run share 96 KiB."
    ),
    Reason.DEPENDENCY_FAILED: ReasonInfo(_C.EFFECT, "Mend the step that failed first."),
    Reason.APPROVAL_DENIED: ReasonInfo(
        _C.HUMAN, "A person refused; see who and why in spec.control.approvals."
    ),
    Reason.APPROVAL_EXPIRED: ReasonInfo(_C.HUMAN, "Nobody answered in time; start a new run and approve it."),
    Reason.ALERT_RESOLVED: ReasonInfo(
        _C.PRECONDITION, "Nothing: the trouble was over before anything was changed."
    ),
    Reason.CANCELLED: ReasonInfo(_C.HUMAN, "Start a new run if it is still needed."),
    Reason.INTERNAL: ReasonInfo(_C.INFRASTRUCTURE, "Report this with the operator's log of the run's uid."),
    Reason.STEP_FAILED: ReasonInfo(_C.EFFECT, "Look at the failed step's reason and message."),
    Reason.ROLLBACK_FAILED: ReasonInfo(
        _C.EFFECT, "Restore by hand what the steps named changed; before-images are in the objects' markers."
    ),
    Reason.UNKNOWN_TEMPLATE: ReasonInfo(_C.CONFIGURATION, "Name a template of this Workflow."),
    Reason.DRAFT: ReasonInfo(
        _C.CONFIGURATION, "Set spec.lifecycle of the Workflow to Active, or start a dry run."
    ),
    Reason.REVIEW_FAILED: ReasonInfo(
        _C.INFRASTRUCTURE,
        "Let the account ask what it may do (ClusterRole system:basic-user); runs may start all the same.",
        transient=True,
    ),
    Reason.DEPRECATED: ReasonInfo(_C.CONFIGURATION, "Use the Workflow that replaces it."),
    Reason.LEASE_LOST: ReasonInfo(
        _C.INFRASTRUCTURE, "Another replica has taken the run over and goes on with it.", transient=True
    ),
    Reason.FEATURE_OFF: ReasonInfo(
        _C.HUMAN, "Switch the feature named on again: `kubernaut features`.", transient=True
    ),
    Reason.WAITING_FOR_CAPACITY: ReasonInfo(
        _C.LIMIT, "Wait for a run that holds the resource, or raise its capacity.", transient=True
    ),
    Reason.CONCURRENT_RUN: ReasonInfo(
        _C.CONFLICT, "Another run holds the target and the Workflow forbids a second; start it again later."
    ),
    Reason.REPLACED: ReasonInfo(_C.CONFLICT, "A newer run of the Workflow took its place; look at that one."),
    Reason.RETRY_REFUSED: ReasonInfo(
        _C.CONFIGURATION, "Start a new run without retryFrom, or name one that failed."
    ),
    Reason.MIGRATION_REFUSED: ReasonInfo(
        _C.PRECONDITION, "Keep the run on its revision, or start a new run of the newer one."
    ),
    Reason.NEEDS_PERSON: ReasonInfo(
        _C.HUMAN, "Say what becomes of the failed step: `kubernaut remedy`.", transient=True
    ),
    Reason.BACKING_OFF: ReasonInfo(
        _C.LIMIT,
        "Look for another cause, for this repair does not help; a run that a person starts does not wait.",
        transient=True,
    ),
    Reason.COOLDOWN: ReasonInfo(
        _C.LIMIT, "Wait until the time named, or shorten the cooldown of the level named.", transient=True
    ),
    Reason.TOO_MANY_RUNS: ReasonInfo(
        _C.LIMIT, "Find out why the target needs repair so often, or raise maxPerHour.", transient=True
    ),
    Reason.STORM: ReasonInfo(
        _C.LIMIT, "Look for the one cause of so many runs; they go on at the time named.", transient=True
    ),
    Reason.OUTSIDE_CHANGE_WINDOW: ReasonInfo(
        _C.LIMIT, "Wait for the time named, or change changeWindows of the level named.", transient=True
    ),
    Reason.ALERT_FIRING: ReasonInfo(
        _C.PRECONDITION,
        "Mend what the alert named tells of; the run goes on once it is silent.",
        transient=True,
    ),
    Reason.ALERTS_UNKNOWN: ReasonInfo(
        _C.INFRASTRUCTURE,
        "Make the Alertmanager answer at KUBERNAUT_ALERTMANAGER_URL; what can't be asked counts as firing.",
        transient=True,
    ),
    Reason.TOO_FEW_HEALTHY: ReasonInfo(
        _C.PRECONDITION,
        "Bring replicas back first, take fewer down at once, or raise maxUnavailablePercent.",
        transient=True,
    ),
    Reason.GUARDS_INVALID: ReasonInfo(
        _C.CONFIGURATION,
        "Correct the entry named of ConfigMap kubernaut-switch; until then nothing is begun there.",
        transient=True,
    ),
    Reason.PROTECTED: ReasonInfo(
        _C.PERMISSION,
        "Leave the object alone, or have the level named protect it no more; start a new run then.",
    ),
    Reason.APPROVAL_REQUIRED: ReasonInfo(
        _C.HUMAN, "Approve or deny: `kubernaut approve RUN guards/approval`.", transient=True
    ),
    Reason.KEPT_BY_ANOTHER: ReasonInfo(
        _C.CONFLICT,
        "Change the fields where the owner named takes them from, or set guards.gitOps to Propose, PauseSync or Act.",
    ),
    Reason.PROPOSED: ReasonInfo(
        _C.HUMAN, "Put the manifest in the step's outputs into Git, where the owner named takes it from."
    ),
    Reason.UNDONE_BY_ANOTHER: ReasonInfo(
        _C.CONFLICT,
        "Change the field where the manager named takes it from, or have guards.gitOps pause the sync; it is tried "
        "again after guards.oscillation.cooldown.",
    ),
    Reason.SUBFLOW_FAILED: ReasonInfo(_C.EFFECT, "Look at the run named: its own reason says what to do."),
    Reason.JOB_FAILED: ReasonInfo(
        _C.EFFECT, "Look at the exit code and the log in the step's outputs, and at the Job's pods."
    ),
    Reason.SUBFLOW_TOO_DEEP: ReasonInfo(
        _C.CONFIGURATION, "Let the Workflows not start each other in a circle."
    ),
    Reason.TOO_MANY_ITEMS: ReasonInfo(_C.LIMIT, "Narrow the selection, or raise forEach.maxItems."),
    Reason.FENCED: ReasonInfo(
        _C.CONFLICT, "The run had ended before this effect was sent; nothing was changed."
    ),
    Reason.FINALLY_FAILED: ReasonInfo(
        _C.EFFECT, "Look at the failed step under finally; what it should tidy up is left."
    ),
    Reason.ALERT_RESOLVED_AFTER: ReasonInfo(_C.EFFECT, "Nothing: the alert was resolved after the act."),
    Reason.ALERT_STILL_FIRING: ReasonInfo(
        _C.EFFECT, "The repair did not help, though its expectations may hold; look for another cause."
    ),
    Reason.ALERT_UNKNOWN: ReasonInfo(
        _C.INFRASTRUCTURE,
        "Have Alertmanager tell what is resolved (send_resolved), or be asked (KUBERNAUT_ALERTMANAGER_URL).",
    ),
    Reason.METRIC_NOT_MET: ReasonInfo(
        _C.EFFECT,
        "The repair did not help as far as the metric named tells. Look for another cause, or give verify.timeout "
        "more than the range of its query, which reaches back to before the act.",
    ),
    Reason.METRIC_MISSING: ReasonInfo(
        _C.CONFIGURATION,
        "Ask Prometheus the query of the metric named; have what it selects scraped, and its range hold samples.",
    ),
    Reason.METRIC_REFUSED: ReasonInfo(
        _C.CONFIGURATION, "Correct the query of the metric named, or have it give fewer samples (sum, max)."
    ),
    Reason.METRIC_NOT_ASKED: ReasonInfo(
        _C.CONFIGURATION, "Have KUBERNAUT_PROMETHEUS_URL of the operator name a Prometheus."
    ),
    Reason.METRICS_UNAVAILABLE: ReasonInfo(
        _C.INFRASTRUCTURE, "Make Prometheus answer, and in full, at KUBERNAUT_PROMETHEUS_URL of the operator."
    ),
    Reason.EXPECTATION_NOT_MET: ReasonInfo(_C.EFFECT, "The repair did not help; look for another cause."),
}

#: with which a guard holds a run, or declines it
GUARD_REASONS: Final = frozenset(
    {
        Reason.BACKING_OFF,
        Reason.COOLDOWN,
        Reason.TOO_MANY_RUNS,
        Reason.STORM,
        Reason.OUTSIDE_CHANGE_WINDOW,
        Reason.ALERT_FIRING,
        Reason.ALERTS_UNKNOWN,
        Reason.TOO_FEW_HEALTHY,
        Reason.GUARDS_INVALID,
        Reason.PROTECTED,
        Reason.APPROVAL_REQUIRED,
        Reason.KEPT_BY_ANOTHER,
        Reason.PROPOSED,
    }
)


def explain(reason: str) -> ReasonInfo | None:
    """Return category and fix of a reason, or None for one that needs no mending."""
    try:
        return REASONS.get(Reason(reason))
    except ValueError:
        return None
