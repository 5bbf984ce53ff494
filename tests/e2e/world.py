"""The cluster with the operator at work in it, and short words for what tests do there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import yaml

from apiserver.rest import MERGE_PATCH, Answer, Client
from e2e import tenants
from e2e.feed import Feed, Manifest
from localcluster import Cluster
from localpostgres import LocalPostgres
from localrun.access import account_kubeconfig
from localrun.audit import AuditLog, Request
from localrun.process import Operator

ROOT = Path(__file__).resolve().parents[2]
API = "/apis/kubernaut.io/v1alpha1"
OPERATOR = "system:serviceaccount:kubernaut-system:kubernaut-operator"
REPAIR = tenants.REPAIR
SWITCH = "/api/v1/namespaces/kubernaut-system/configmaps/kubernaut-switch"
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
    "Workflow": API + "/namespaces/{}/workflows",
    "WorkflowExecution": API + "/namespaces/{}/workflowexecutions",
}
T = TypeVar("T")
_numbers = itertools.count(1)


def until(what: str, look: Callable[[], T], seconds: float = 30.0) -> T:
    """Return the first true answer of ``look``; for what no watch can tell.

    Raises:
        AssertionError: there is none in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return found


class World:
    """One cluster, one Postgres, one operator (or another one in its stead)."""

    def __init__(self, cluster: Cluster, postgres: LocalPostgres, folder: Path) -> None:
        self.cluster = cluster
        self.postgres = postgres
        self.folder = folder
        self.admin = Client(cluster.kubeconfig)
        self.rights = account_kubeconfig(cluster, "kubernaut-operator", folder)
        assert cluster.audit_log is not None
        self._audit = AuditLog(cluster.audit_log)
        self._requests: list[Request] = []
        self._answered: set[str] = set()
        # Namespaces in which a test has the operator refused on purpose.
        self.refusing: set[str] = set()
        self.outages: list[tuple[datetime, datetime]] = []
        self.runs = Feed(cluster, f"{API}/workflowexecutions")
        self.workflows = Feed(cluster, f"{API}/workflows")
        self._tenant = tenants.manifests(cluster)
        self.operator = self.new_operator(postgres.dsn, {"KUBERNAUT_POLICY_CHECK": "1s"})
        self._acted_in = self.place(deployment=False)
        self._act()

    def _act(self) -> None:
        """Act once as another account, as the operator does, so that refusals of that tell of the account.

        Kubernetes 1.36 knows several ways to act as another. To whom none was granted since the API server started, a
        refusal tells of the request that was sent, and a review of rights is in no namespace; later it tells of the
        account that could not be acted as, and of its namespace, which ``Request.refused_in`` has.
        """
        token = yaml.safe_load(self.rights.read_text())["users"][0]["user"]["token"]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": self._acted_in.namespace},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        with Client(self.rights, self._acted_in.account, token=token) as operator:
            answer = operator.request("POST", path, review)
        assert answer.ok, answer

    def close(self) -> None:
        """End all that was started."""
        self.operator.stop()
        self.runs.close()
        self.workflows.close()
        self.admin.__exit__()

    # The operator

    def new_operator(self, dsn: str | None, env: Mapping[str, str] | None = None) -> Operator:
        """Return an operator that is not started yet."""
        folder = self.folder / f"operator-{next(_numbers)}"
        return Operator(self.rights, folder, dsn, env)

    @contextlib.contextmanager
    def other_operator(self, dsn: str | None, env: Mapping[str, str] | None = None) -> Iterator[Operator]:
        """Have another operator work in the stead of the usual one."""
        usual = self.operator
        usual.stop()
        self.operator = other = self.new_operator(dsn, env)
        try:
            other.start()
            other.wait_ready()
            yield other
        finally:
            other.stop()
            self.operator = usual
            usual.start()
            usual.wait_ready()

    def kubernaut(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run our command as the cluster's admin."""
        command = [str(Path(sys.executable).parent / "kubernaut"), *arguments]
        env = {**os.environ, **self.cluster.client_environment(), "COLUMNS": "200"}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    def restart_operator(self) -> None:
        """Start the operator again after it was stopped or killed."""
        assert not self.operator.running
        self.operator.start()
        self.operator.wait_ready()

    @contextlib.contextmanager
    def without_history(self) -> Iterator[None]:
        """Have Postgres stopped."""
        self.postgres.stop()
        try:
            yield
        finally:
            self.postgres.start()

    def switch(self, acting: str, reason: str = "", since: str = "2026-01-01T00:00:00Z") -> None:
        """Throw the stop switch without waiting for anybody."""
        data = {"acting": acting, "by": "eve", "reason": reason, "since": since}
        answer = self.admin.request("PATCH", SWITCH, {"data": data}, content_type=MERGE_PATCH)
        assert answer.ok, answer

    @contextlib.contextmanager
    def without_api_server(self) -> Iterator[None]:
        """Have the API server stopped; afterwards the cluster's own controllers work at once again."""
        began = datetime.now(UTC)
        self.cluster.stop("kube-apiserver")
        try:
            yield
        finally:
            self.cluster.start("kube-apiserver")
            self._act()
            self.outages.append((began, datetime.now(UTC)))
            self.admin.__exit__()
            self.admin = Client(self.cluster.kubeconfig)
            self.cluster.restart_watching()

    # Evidence

    def requests(self) -> list[Request]:
        """Return all requests of the session that the API server has logged so far."""
        for request in self._audit.read():
            self._requests.append(request)
            if request.resource == "workflowexecutions" and request.answer:
                self._answered.add(request.answer.get("metadata", {}).get("resourceVersion", ""))
        return self._requests

    def watches(self, user: str) -> int:
        """Return how many watches of an account have begun."""
        self.requests()
        return sum(request.user == user for request in self._audit.begun)

    def persisted(self, namespace: str, *, user: str | None = None) -> list[Request]:
        """Return the operator's requests that changed an object of a namespace.

        A watch may bring what a request changed before the request is in the log, so this waits until the log holds
        what made each run as it was last seen.
        """
        seen = {run["metadata"]["resourceVersion"] for run in self.runs.newest(namespace)}

        def logged() -> bool:
            self.requests()
            return seen <= self._answered

        until(f"the audit log holds what made the runs of {namespace} as they are seen", logged)
        return [
            request
            for request in self._requests
            if request.by == OPERATOR
            and request.persisted
            and request.namespace == namespace
            and user in (None, request.user)
        ]

    def rows(self, query: str, *values: object, dsn: str = "") -> list[dict[str, Any]]:
        """Ask the history, or another database."""

        async def ask() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(dsn or self.postgres.dsn)
            try:
                return [dict(row) for row in await connection.fetch(query, *values)]
            except asyncpg.UndefinedTableError:
                return []  # the operator is about to make the history
            finally:
                await connection.close()

        return asyncio.run(ask())

    def await_rows(self, uids: list[str], seconds: float = 30.0) -> list[dict[str, Any]]:
        """Wait until the history holds these runs, and return their rows."""
        query = "select * from kubernaut.runs where uid::text = any($1::text[])"

        def complete() -> list[dict[str, Any]] | None:
            rows = self.rows(query, uids)
            return rows if len(rows) >= len(uids) else None

        found = until(f"the history holds {len(uids)} runs", complete, seconds)
        assert found is not None
        return found

    # Places

    def place(self, *, deployment: bool = True, account: bool = True, rights: bool = True) -> Place:
        """Make a namespace in which Workflows may repair, with a Deployment ``web`` if wanted.

        Without ``rights`` its account may be acted as, and may do nothing.
        """
        place = Place(self, f"e2e-{next(_numbers)}")
        place.create("Namespace", {"metadata": {"name": place.namespace}})
        for manifest in json.loads(self._tenant.replace("NAMESPACE", place.namespace)):
            of_account = manifest["metadata"]["name"] == REPAIR and manifest["kind"] != "ServiceAccount"
            if (account or manifest["kind"] != "ServiceAccount") and (rights or not of_account):
                place.create(manifest["kind"], manifest)
        if deployment:
            place.create("Deployment", web())
        place.await_rights(account=rights)
        return place


class Place:
    """A namespace of one test."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world = world
        self.namespace = namespace

    def path(self, kind: str, name: str = "") -> str:
        """Return the path of a collection or of an object."""
        return f"{_PATHS[kind].format(self.namespace)}{'/' if name else ''}{name}"

    def post(self, kind: str, manifest: Manifest, client: Client | None = None) -> Answer:
        """Create an object, strictly."""
        return (client or self.world.admin).request(
            "POST", self.path(kind), manifest, fieldValidation="Strict"
        )

    def create(self, kind: str, manifest: Manifest) -> Manifest:
        """Create an object; return it as the API server has it."""
        answer = self.post(kind, manifest)
        assert answer.ok, answer
        body: Manifest = answer.body
        return body

    def get(self, kind: str, name: str) -> Manifest:
        """Return an object."""
        answer = self.world.admin.request("GET", self.path(kind, name))
        assert answer.ok, answer
        body: Manifest = answer.body
        return body

    def list(self, kind: str) -> list[Manifest]:
        """Return all objects of a kind."""
        answer = self.world.admin.request("GET", self.path(kind))
        assert answer.ok, answer
        items: list[Manifest] = answer.body["items"]
        return items

    def patch(self, kind: str, name: str, body: Manifest, client: Client | None = None) -> Answer:
        """Merge-patch an object."""
        return (client or self.world.admin).request(
            "PATCH", self.path(kind, name), body, content_type=MERGE_PATCH, fieldValidation="Strict"
        )

    def change(self, kind: str, name: str, body: Manifest) -> Manifest:
        """Merge-patch an object that lets itself be patched."""
        answer = self.patch(kind, name, body)
        assert answer.ok, answer
        manifest: Manifest = answer.body
        return manifest

    def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        answer = self.world.admin.request("DELETE", self.path(kind, name))
        assert answer.ok, answer

    def label(self, **labels: str | None) -> Manifest:
        """Label the Deployment: what gates of Workflows wait for."""
        return self.change("Deployment", "web", {"metadata": {"labels": labels}})

    def workflow(self, *steps: Manifest, name: str = "flow", ready: bool = True, **spec: Any) -> Manifest:
        """Declare a Workflow on ``web``; wait until the operator has said what it thinks of it."""
        manifest = {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "serviceAccountName": REPAIR,
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "steps": list(steps),
                **spec,
            },
        }
        made = self.create("Workflow", manifest)
        truth = "True" if ready else "False"
        return self.world.workflows.wait(
            (self.namespace, name),
            lambda w: (
                w["metadata"]["uid"] == made["metadata"]["uid"]
                and condition(w, "Ready").get("status") == truth
            ),
            f"the Workflow is Ready={truth}",
        )

    def run(self, name: str = "run", workflow: str = "flow", **parameters: str) -> Run:
        """Start a run, as a person would."""
        return Run(
            self, self.create("WorkflowExecution", execution(self.namespace, name, workflow, parameters))
        )

    def await_rights(self, *, account: bool = True) -> None:
        """Wait until the API server's authorizer knows the rights just given, those of the account too."""
        asked = [
            (OPERATOR, {"verb": "impersonate", "resource": "serviceaccounts", "name": REPAIR}),
            (self.account, {"verb": "patch", "group": "apps", "resource": "deployments"}),
        ]
        for user, attributes in asked if account else asked[:1]:
            self.await_right(user, attributes, True)

    def await_right(self, user: str, attributes: Mapping[str, str], allowed: bool) -> None:
        """Wait until the authorizer answers so."""
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {"namespace": self.namespace, **attributes}},
        }

        def known() -> bool:
            answer = self.world.admin.request(
                "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body
            )
            return bool(answer.body["status"].get("allowed", False) is allowed)

        until(f"{user} may{'' if allowed else ' not'} {attributes}", known)

    @property
    def account(self) -> str:
        """The user name of the account that repairs here."""
        return f"system:serviceaccount:{self.namespace}:{REPAIR}"


class Run:
    """A run and what became of it."""

    def __init__(self, place: Place, made: Manifest) -> None:
        self.place = place
        self.name: str = made["metadata"]["name"]
        self.uid: str = made["metadata"]["uid"]
        self.key = (place.namespace, self.name)
        self._feed = place.world.runs

    def wait(self, holds: Callable[[Manifest], bool], what: str, seconds: float = 30.0) -> Manifest:
        """Return the first version of the run of which this holds."""
        return self._feed.wait(
            self.key, lambda r: r["metadata"]["uid"] == self.uid and holds(r), what, seconds
        )

    def end(self, seconds: float = 40.0) -> Manifest:
        """Return the status of the finished run."""
        found = self.wait(lambda r: "finishedAt" in r.get("status", {}), "the run ends", seconds)
        status: Manifest = found["status"]
        return status

    def held(self, reason: str) -> str:
        """Wait until the run's conditions say why it does not go on; return the sentence."""
        found = self.wait(
            lambda r: condition(r, "Reconciling").get("reason") == reason, f"the run is held by {reason}"
        )
        message: str = condition(found, "Reconciling")["message"]
        return message

    def step_is(self, step: str, *phases: str) -> Manifest:
        """Wait until a step has one of the phases; return its record."""
        found = self.wait(
            lambda r: steps(r["status"]).get(step, {}).get("phase") in phases if "status" in r else False,
            f"step {step} is {' or '.join(phases)}",
        )
        return steps(found["status"])[step]

    def begun_when(self, step: str) -> set[str]:
        """Return the steps that had been begun when a step was first seen to have succeeded."""
        found = self.wait(
            lambda r: phases(r.get("status", {})).get(step) == "Succeeded", f"step {step} is Succeeded"
        )
        return set(phases(found["status"]))

    def control(self, **control: Any) -> Manifest:
        """Change what may be changed of a run."""
        return self.place.change("WorkflowExecution", self.name, {"spec": {"control": control}})

    def versions(self) -> list[Manifest]:
        """Return all versions seen."""
        return [r for r in self._feed.versions(self.key) if r["metadata"]["uid"] == self.uid]


def execution(namespace: str, name: str, workflow: str, parameters: Mapping[str, str]) -> Manifest:
    """Return a run."""
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "workflowRef": {"name": workflow},
            "parameters": [{"name": key, "value": value} for key, value in parameters.items()],
        },
    }


def web(replicas: int = 1) -> Manifest:
    """Return the Deployment ``web``; a simulated node says of its pods that they are ready."""
    container = {"name": "app", "image": "kubernaut.local/pause:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }


def condition(manifest: Manifest, kind: str) -> Manifest:
    """Return a condition of an object; empty where it has none of this type."""
    found: list[Manifest] = manifest.get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == kind), {})


def steps(status: Manifest) -> dict[str, Manifest]:
    """Return a run's step records by name."""
    return {step["name"]: step for step in status.get("steps", [])}


def phases(status: Manifest) -> dict[str, str]:
    """Return a run's step phases by name."""
    return {name: step["phase"] for name, step in steps(status).items()}


def done(place: Place) -> set[str]:
    """Return the names of the ``note`` steps whose effect shows on ``web``."""
    annotations = place.get("Deployment", "web")["metadata"].get("annotations", {})
    return {key.removeprefix("did-") for key in annotations if key.startswith("did-")}


def effects(place: Place) -> list[str]:
    """Return the ``note`` steps by the order of the requests that changed ``web``, from the audit log."""
    found = []
    for request in place.world.persisted(place.namespace, user=place.account):
        annotations = ((request.body or {}).get("metadata") or {}).get("annotations") or {}
        found += [key.removeprefix("did-") for key in annotations if key.startswith("did-")]
    return found
