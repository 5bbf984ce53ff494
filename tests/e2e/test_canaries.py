"""No secret that a run comes past is told: in no status, history, log, Event, metric, error, diff or answer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
import pytest
import yaml

from e2e.canaries import Canaries, marks
from e2e.feed import Manifest
from e2e.websteps import acting, gate, note
from e2e.world import API, REPAIR, Place, Run, World, until, web
from kubernaut.actions.diagnosis import redaction
from kubernaut.actions.diagnosis.bundle import collect
from kubernaut.actions.diagnosis.symptoms import Sample
from kubernaut.cli import main
from kubernaut.history.bundles import Bundles, seal
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing

PAUSE = "kubernaut.local/pause:1"
_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
_APPS, _BATCH = "/apis/apps/v1/namespaces/{}", "/apis/batch/v1/namespaces/{}"
_CORE = "/api/v1/namespaces/{}"


class Told:
    """Everything that anybody could read of what was done in a place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.texts: dict[str, str | bytes] = {}

    def command(self, *arguments: str) -> int:
        """Run one of our commands, in this process: there are many, and each start of its own takes a second."""
        told, env = io.StringIO(), self.place.world.cluster.client_environment()
        with (
            mock.patch.dict(os.environ, {**env, "COLUMNS": "200"}),
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(told),
        ):
            status = main(list(arguments))
        self.texts[f"kubernaut {' '.join(arguments)}"[:120]] = told.getvalue()
        return status

    def collect(self) -> dict[str, str | bytes]:
        world, namespace = self.place.world, self.place.namespace
        for plural in ("workflowexecutions", "workflows"):
            path = f"{API}/namespaces/{namespace}/{plural}"
            found = world.admin.request("GET", path).body["items"]
            self.texts[f"status of {plural}"] = json.dumps([one.get("status") for one in found])
        for (where, name), versions in self._versions():
            self.texts[f"every status that run {where}/{name} had"] = json.dumps(versions)
        for title, path in (
            ("Events", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"),
            ("ControllerRevisions", f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"),
            ("leases", "/apis/coordination.k8s.io/v1/namespaces/kubernaut-system/leases"),
            ("patterns", f"{API}/discoveredpatterns"),
            ("the switch", "/api/v1/namespaces/kubernaut-system/configmaps/kubernaut-switch"),
        ):
            self.texts[title] = json.dumps(self._ours(title, world.admin.request("GET", path).body))
        self._objects()
        self.texts["metrics"] = world.operator.get("/metrics")[1]
        self.texts["readiness"] = str([world.operator.get(path) for path in ("/readyz", "/healthz")])
        for log in world.folder.glob("*/operator.log"):
            self.texts[f"log {log.parent.name}"] = log.read_bytes()
        for file in world.folder.glob("*/state/**/*"):
            if file.is_file():
                self.texts[f"spool {file.name}"] = file.read_bytes()
        self.texts |= asyncio.run(_tables(world.postgres.dsn))
        self.texts["Postgres' log"] = world.postgres.log.read_bytes() if world.postgres.log.exists() else b""
        return self.texts

    def _versions(self) -> list[tuple[tuple[str, str], list[Any]]]:
        names = [one["metadata"]["name"] for one in self.place.list("WorkflowExecution")]
        keys = [(self.place.namespace, name) for name in names]
        return [(key, [one.get("status") for one in self.place.world.runs.versions(key)]) for key in keys]

    def _ours(self, title: str, body: Any) -> Any:
        """Leave out what the test itself wrote, and revisions that are a workload's own."""
        items = body.get("items", [body])
        if title == "Events":
            return [one for one in items if one.get("reportingController") == "kubernaut.io"]
        if title == "ControllerRevisions":
            return [one for one in items if "kubernaut.io/workflow" in (one["metadata"].get("labels") or {})]
        return items

    def _objects(self) -> None:
        namespace, admin = self.place.namespace, self.place.world.admin
        for base, plurals in (
            (_APPS, ("deployments", "statefulsets", "replicasets")),
            (_CORE, ("configmaps", "secrets", "pods", "services")),
            (_BATCH, ("jobs", "cronjobs")),
        ):
            for plural in plurals:
                found = admin.request("GET", f"{base.format(namespace)}/{plural}").body["items"]
                self.texts[f"marks on {plural}"] = " ".join(map(marks, found))
                names = [(one["metadata"]["name"], one["metadata"].get("labels")) for one in found]
                self.texts[f"names and labels of {plural}"] = json.dumps(names)
        jobs = admin.request("GET", f"{_BATCH.format(namespace)}/jobs").body["items"]
        self.texts["Jobs that we made"] = json.dumps(
            [one for one in jobs if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of")]
        )


async def _tables(dsn: str) -> dict[str, str | bytes]:
    """Return every column of every table of the history as it is stored."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        )
        found: dict[str, str | bytes] = {}
        for schema, table in tables:
            rows = await connection.fetch(f'select * from "{schema}"."{table}"')
            texts = [
                value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
            ]
            found[f"table {schema}.{table}"] = b"\n".join(texts)
            found |= {
                f"table {schema}.{table}, bytes {at}": text
                for at, text in enumerate(texts)
                if text[:1] < b"\x20"
            }
        return found
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def place(world: World) -> Place:
    """A namespace whose account may do everything, so that nothing is left undone for want of a right."""
    place = world.place(deployment=False)
    world.refusing.add(place.namespace)
    subject = {"kind": "ServiceAccount", "name": REPAIR, "namespace": place.namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    body = {"metadata": {"name": f"canaries-{place.namespace}"}, "roleRef": ref, "subjects": [subject]}
    assert world.admin.request("POST", _BINDINGS, body).ok
    place.await_right(place.account, {"namespace": "", "verb": "patch", "resource": "nodes"}, True)
    return place


@pytest.fixture
def keys(place: Place, tmp_path: Path) -> Iterator[Path]:
    """The file of keys with which the operator encrypts what it keeps; without one it keeps nothing."""
    path = tmp_path / "keys"
    path.write_text(base64.b64encode(os.urandom(32)).decode())
    env = {"KUBERNAUT_ENCRYPTION_KEYS": str(path)}
    with place.world.other_operator(place.world.postgres.dsn, env):
        yield path


def _post(place: Place, base: str, plural: str, manifest: Manifest) -> Manifest:
    answer = place.world.admin.request("POST", f"{base.format(place.namespace)}/{plural}", manifest)
    assert answer.ok, answer
    body: Manifest = answer.body
    return body


def planted(place: Place, canaries: Canaries) -> None:
    """Lay secrets out in everything that the runs will look at or change."""
    plant = canaries.plant
    for name in ("bank", "session"):
        meta = {"name": name, "annotations": {"example.com/token": plant(f"annotation of Secret {name}")}}
        data = {"word": plant(f"value of Secret {name}"), "other": plant(f"other value of Secret {name}")}
        _post(place, _CORE, "secrets", {"metadata": meta, "stringData": data})
    settings = {
        "password": plant("value of a ConfigMap under a secretive key"),
        "app.properties": f"level=info\ndb.password={plant('line of a file in a ConfigMap')}\n",
        "url": f"postgres://shop:{plant('URL in a ConfigMap')}@db/shop",
    }
    _post(place, _CORE, "configmaps", {"metadata": {"name": "settings"}, "data": settings})
    good = {key: plant(f"{key} of the good copy") for key in ("password",)}
    file = f"level=info\ndb.password={plant('line of a file in the good copy')}\n"
    _post(place, _CORE, "configmaps", {"metadata": {"name": "good"}, "data": good | {"app.properties": file}})
    place.create("Deployment", _deployment(canaries))
    service = {"selector": {"app": "nobody"}, "ports": [{"port": 80}]}
    meta = {"name": "web", "annotations": {"example.com/api-key": plant("annotation of a Service")}}
    _post(place, _CORE, "services", {"metadata": meta, "spec": service})
    pod = {
        "containers": [
            {"name": "app", "image": PAUSE, "env": [{"name": "K", "value": plant("env of a CronJob")}]}
        ],
        "restartPolicy": "Never",
    }
    cron = {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    _post(place, _BATCH, "cronjobs", {"metadata": {"name": "nightly"}, "spec": cron})
    uid = place.get("Deployment", "web")["metadata"]["uid"]
    for number, text in enumerate(
        (
            f'Failed to pull image "https://shop:{plant("URL in an event")}@registry.example.com/shop": denied',
            f"probe failed: Authorization: Bearer {plant('header in an event')}",
            f"cannot log in with password={plant('word in an event')}",
        )
    ):
        about = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web",
            "namespace": place.namespace,
            "uid": uid,
        }
        _post(
            place,
            _CORE,
            "events",
            {
                "metadata": {"name": f"e{number}"},
                "involvedObject": about,
                "type": "Warning",
                "reason": "Failed",
                "message": text,
            },
        )


def _deployment(canaries: Canaries) -> Manifest:
    plant, made = canaries.plant, web()
    made["metadata"]["annotations"] = {
        "example.com/api-token": plant("annotation of a Deployment"),
        "example.com/hook": f"https://hooks.example.com/x?access_token={plant('URL in an annotation')}",
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"env": plant("last applied")}),
    }
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["env"] = [
        {"name": "WORD", "value": plant("env of a container")},
        {"name": "PASSWORD", "value": plant("env PASSWORD of a container")},
        {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "bank", "key": "word"}}},
    ]
    container["args"] = [
        f"--password={plant('argument of a container')}",
        "--token",
        plant("argument after its option"),
    ]
    container["command"] = ["/pause", f"amqp://shop:{plant('URL of a command')}@queue"]
    made["spec"]["template"]["metadata"]["annotations"] = {
        "example.com/secret": plant("annotation of a template")
    }
    return made


def _step(name: str, action: str, /, *needs: str, **with_: Any) -> Manifest:
    return {"name": name, "action": action, "dependsOn": list(needs), "with": with_, "timeout": "90s"}


def everything() -> list[Manifest]:
    """Return steps that look at, change or use all that was planted, one after the other."""
    # All goes but the reference, which no step may take away.
    ref = {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "bank", "key": "word"}}}
    app: Manifest = {"name": "app", "image": PAUSE, "command": ["/pause"], "env": [ref]}
    template = {"spec": {"template": {"spec": {"containers": [app]}}}}
    annotations = {"metadata": {"annotations": {"example.com/api-token": None, "example.com/hook": "none"}}}
    chain = [
        _step("look", "collect_diagnostics", logs=False),
        acting("annotations", patch=annotations),
        acting("template", patch=template),
        _step("restart", "restart_deployment"),
        _step("scale", "scale_deployment", replicas=2),
        _step("copy", "restore_configmap", name="settings", **{"from": "good"}),
        _step(
            "values",
            "patch_resource",
            apiVersion="v1",
            kind="ConfigMap",
            name="settings",
            patch={"data": {"url": None}},
        ),
        _step("rotate", "rotate_secrets", name="session", keys=["word"]),
        _step("suspend", "suspend_cronjob", name="nightly"),
        _step("job", "run_job", image=PAUSE, env=[{"name": "WORD", "secretKeyRef": "=params.word"}]),
        _step("tell", "notify_only", message="='from ' + params.word.name + ' key ' + params.word.key"),
    ]
    for before, step in pairwise(chain):
        step["dependsOn"] = [before["name"]]
    return chain


PARAMETERS = [{"name": "word", "type": "secret", "required": True}]
#: what fails on a value, and must not tell it
FAILING: dict[str, Manifest] = {
    "a condition that is none": note("s", when="target.metadata.annotations['example.com/api-token']"),
    "a wait that is none": {
        "name": "s",
        "wait": {"until": "target.metadata.annotations['example.com/api-token']"},
        "timeout": "5s",
    },
    "a number that is none": note("s", when="int(target.metadata.annotations['example.com/api-token']) > 1"),
    "a time that is none": note(
        "s",
        when="timestamp(target.metadata.annotations['example.com/api-token']) > timestamp('2026-01-01T00:00:00Z')",
    ),
    "a duration that is none": note(
        "s", when="duration(target.metadata.annotations['example.com/api-token']) > duration('1s')"
    ),
    "a key that is not there": note(
        "s", when="target.metadata.labels[target.metadata.annotations['example.com/api-token']] == 'x'"
    ),
    "a pattern that is none": note(
        "s", when="'x'.matches('(' + target.metadata.annotations['example.com/api-token'])"
    ),
    "another value than expected": acting(
        "s",
        patch={"metadata": {"labels": {"a": "b"}}},
        expect={'metadata.annotations["example.com/api-token"]': "other"},
    ),
    "a URL other than expected": acting(
        "s",
        patch={"metadata": {"labels": {"a": "b"}}},
        expect={'metadata.annotations["example.com/hook"]': "other"},
    ),
    "a name of an object": {
        "name": "s",
        "action": "scale_deployment",
        "with": {"name": "=target.metadata.annotations['example.com/api-token']", "replicas": 1},
    },
    "a number of an action": {
        "name": "s",
        "action": "scale_deployment",
        "with": {"replicas": "=target.metadata.annotations['example.com/api-token']"},
    },
    "an image of an action": {
        "name": "s",
        "action": "set_image",
        "with": {"container": "app", "image": "=target.metadata.annotations['example.com/api-token']"},
    },
    "a quantity of an action": {
        "name": "s",
        "action": "increase_resources",
        "with": {"memoryFactor": "=target.metadata.annotations['example.com/api-token']"},
    },
    "items that are no list": {
        "name": "s",
        "forEach": {
            "itemsFrom": "dyn(target.metadata.annotations['example.com/api-token'])",
            "template": "t",
        },
    },
    "a secret that is not there": _step(
        "s",
        "run_job",
        image=PAUSE,
        env=[{"name": "PASSWORD", "value": "=target.metadata.annotations['example.com/api-token']"}],
    ),
    "a patch through a text": acting(
        "s", patch={"metadata": {"annotations": {"example.com/api-token": {"deep": 1}}}}
    ),
}


def _finished(place: Place, name: str) -> Manifest:
    return Run(place, place.get("WorkflowExecution", name)).end(120)


def test_no_secret_is_told_whatever_becomes_of_a_run(place: Place, keys: Path, tmp_path: Path) -> None:
    world, canaries, told = place.world, Canaries(), Told(place)
    canaries.known("the key that bundles are encrypted with", keys.read_text())
    planted(place, canaries)
    key = place.world.admin.request(
        "GET", "/api/v1/namespaces/kubernaut-system/secrets/kubernaut-signing"
    ).body
    canaries.known("the key that signs marks, as stored", key["data"]["key"].rstrip("="))
    token = yaml.safe_load(world.rights.read_text())["users"][0]["user"]["token"]
    canaries.known("the operator's own token", token.rpartition(".")[2])

    fails = note("fails", "tell", expect={"spec.replicas": 99})
    place.workflow(*everything(), name="good", parameters=PARAMETERS)
    place.workflow(*everything(), fails, name="bad", parameters=PARAMETERS, onFailure="Rollback")
    place.workflow(gate("gate", label="never"), *everything()[:1], name="waits", parameters=PARAMETERS)
    template = [{"name": "t", "steps": [note("in")]}]
    named = {f"fails-{number}": step for number, step in enumerate(FAILING.values())}
    for name, step in named.items():
        place.workflow(step, name=name, templates=template if "forEach" in step else [])

    given = ("-p", "word=bank/word", "-n", place.namespace)
    told.command("run", "bad", "--name", "dry", "--dry-run", *given)
    _finished(place, "dry")
    told.command("run", "bad", "--name", "bad", *given)
    assert _finished(place, "bad")["verdict"] == "RolledBack"
    told.command("run", "good", "--name", "good", *given)
    good = _finished(place, "good")
    assert good["phase"] == "Succeeded", good
    rotated = place.get("Secret", "session")["data"]["word"]
    canaries.known("the new value of a rotated Secret", base64.b64decode(rotated).decode())
    for name in named:
        told.command("run", name, "--name", name, "-n", place.namespace)
    ends = {name: _finished(place, name) for name in named}
    assert [name for name, status in ends.items() if status["phase"] == "Succeeded"] == []
    mistaken = canaries.plant("a secret given in the place of its reference")
    told.command("run", "good", "--name", "mistaken", "-p", f"word={mistaken}", "-n", place.namespace)
    assert "is not told here" in str(list(told.texts.values())[-1])
    told.command("run", "waits", "--name", "waits", *given)
    Run(place, place.get("WorkflowExecution", "waits")).step_is("gate", "Waiting")
    assert told.command("cancel", "waits", "-n", place.namespace) == 0, told.texts
    _finished(place, "waits")

    uids = [one["metadata"]["uid"] for one in place.list("WorkflowExecution")]
    world.await_rows(uids)
    flow, history = tmp_path / "flow.yaml", ("--dsn", world.postgres.dsn)
    kept = (*history, "--keys", str(keys), "-n", place.namespace)
    until("what was collected is stored", lambda: world.operator.metric("kubernaut_bundle_backlog") == 0)
    flow.write_text(yaml.safe_dump(_declared(place, "bad")))
    for name in ("dry", "bad", "good", "waits", *named):
        for word in ("why", "status", "watch"):
            told.command(word, name, "-n", place.namespace)
    for command in (
        ("status", "-n", place.namespace, "-o", "wide"),
        ("status", "bad", "-n", place.namespace, "-o", "yaml"),
        ("why", "bad", "-n", place.namespace, "-o", "json"),
        ("revisions", "bad", "-n", place.namespace),
        ("rbac", "bad", "-n", place.namespace),
        ("lint", str(flow)),
        ("patterns", "-n", place.namespace),
        ("actions", "run_job"),
        ("history", "-n", place.namespace, "-o", "json", *history),
        *(("diagnostics", name, *form, *kept) for name in ("good", "bad") for form in ((), ("-o", "json"))),
        ("replay", "-w", str(flow), "-n", place.namespace, "-o", "json", *history),
        ("simulate", str(flow), "--server", "-o", "json", *given),
        *(("simulate", name, *given[-2:]) for name in named),
    ):
        assert told.command(*command) in (0, 2), told.texts
    assert len(canaries.values) >= 20
    texts = told.collect()
    print(
        f"{len(canaries.values)} secrets in {len(texts)} texts of {sum(map(len, texts.values()))} characters"
    )
    hits = canaries.found(texts)
    assert hits == [], "\n".join(hits)
    keep_unredacted(place, keys, canaries)
    for form in ((), ("-o", "json")):
        broken = Told(place)
        assert broken.command("diagnostics", "good", *form, *kept) == 0
        hits = canaries.found(broken.texts)
        missed = {"env of a container", "env PASSWORD of a container"} - {
            hit.partition(":")[0] for hit in hits
        }
        assert not missed, f"in what `diagnostics {' '.join(form)}` shows this is not searched for: {missed}"


def keep_unredacted(place: Place, keys: Path, canaries: Canaries) -> None:
    """Have a bundle in the place of that of run good from which nothing secret was taken."""
    target = place.get("Deployment", "web") | {"apiVersion": "apps/v1", "kind": "Deployment"}
    # Run good has taken them away.
    names = {"WORD": "env of a container", "PASSWORD": "env PASSWORD of a container"}
    variables = [{"name": name, "value": canaries.values[where]} for name, where in names.items()]
    target["spec"]["template"]["spec"]["containers"][0]["env"] = variables
    uid = place.get("WorkflowExecution", "good")["metadata"]["uid"]

    async def keep() -> None:
        now = datetime.now(UTC)
        with mock.patch.object(redaction, "manifest", lambda seen: seen):
            content = await collect(mock.Mock(), Sample(target, [], [], now), logs=False)
        database = Database(place.world.postgres.dsn, migrating=False, connections=1)
        try:
            await Bundles(database).save(seal(KeyRing(keys), uid, "look", now, content))
        finally:
            await database.close()

    asyncio.run(keep())


def _declared(place: Place, name: str) -> Manifest:
    seen = place.get("Workflow", name)
    return {key: seen[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a URL": lambda value: f"https://x/?a={value.replace('+', '%2B')}",
    "in base64": lambda value: base64.b64encode(f"a{value}b".encode()).decode(),
    "in hexadecimal": lambda value: value.encode().hex(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_what_there_is(form: str) -> None:
    canaries = Canaries()
    value = canaries.plant("here")
    (hit, *_) = canaries.found({"text": f"before {FORMS[form](value)} after"})
    assert hit.startswith("here: in text: before ")
    assert canaries.found({"text": "before and after"}) == []
