"""The demo itself, part by part; every part checks what it says."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from demo.cases import Batch, Case
from demo.faults import Manifest, faults
from demo.narrator import Narrator, NotSeen
from demo.world import NAME, ROOT, World
from localcluster import Cluster
from localpostgres import LocalPostgres
from localrun.audit import AuditLog, Request

NAMESPACES_PER_FAULT = 5
STORY = "shop"


def set_up(narrator: Narrator) -> World:
    """Bring up cluster and Postgres, install the manifests."""
    narrator.heading("A real cluster")
    narrator.say(
        "etcd, kube-apiserver (RBAC, audit log, admission), controller-manager, scheduler and a node."
    )
    cluster = Cluster.up(NAME)
    node = "real node: kubelet, containerd and runc" if cluster.has_real_node else "simulated node (kwok)"
    narrator.block(cluster.run_kubectl("get", "nodes", "-o", "wide"))
    narrator.saw(f"the cluster answers; it has a {node}")
    if not cluster.has_real_node:
        narrator.say(
            "This machine allows no real node (see above), and containers that really crash need one."
        )
        raise NotSeen("a node that really runs containers: run the demo as root on Linux")
    narrator.heading("Postgres with pgvector")
    with narrator.working("starting the embedded Postgres"):
        postgres = LocalPostgres.up(NAME)
    world = World(cluster, postgres)
    version = asyncio.run(_one(postgres.dsn, "select split_part(version(), ' ', 2)"))
    narrator.saw(f"Postgres {version} answers")
    narrator.heading("Install: kubectl apply -k manifests/base")
    with narrator.working("applying CRDs, RBAC and admission policies"):
        world.kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
        kinds = ("workflows", "workflowexecutions", "discoveredpatterns")
        names = [f"crd/{kind}.kubernaut.io" for kind in kinds]
        world.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
    narrator.block(world.kubectl("get", "crd,validatingadmissionpolicies", "-o", "name"))
    narrator.saw("the CRDs are established and the admission policies are in place")
    return world


def start_operator(narrator: Narrator, world: World) -> None:
    """Start operator and analyst with restricted rights, and show what they may not do."""
    narrator.heading("The operator and the analyst, with the rights of their own ServiceAccounts")
    with narrator.working("starting both"):
        operator = world.start_operator()
        world.start_analyst()
    narrator.saw(f"the operator is ready: {operator.get('/healthz')[1].strip()}")
    dsn = world.postgres.dsn

    def migrated() -> bool:
        return asyncio.run(_one(dsn, "select to_regclass('kubernaut.runs')")) is not None

    narrator.wait("the operator migrates the database", migrated, 60)
    rows = asyncio.run(_one(dsn, "select count(*) from kubernaut.runs"))
    narrator.check(rows == 0, "the schema is migrated and holds no run yet", rows)
    account = "system:serviceaccount:kubernaut-system:kubernaut-operator"
    for verb, resource in (("patch", "deployments.apps"), ("delete", "pods"), ("get", "secrets")):
        answer = _can_i(world, account, verb, resource)
        narrator.check(answer == "no", f"the operator itself may not {verb} {resource}", answer)


def repair_one(narrator: Narrator, world: World) -> Case:
    """The main story, told at length: a crash-looping Deployment is rolled back."""
    narrator.heading("A Deployment crash-loops, and a Workflow repairs it")
    image = world.cluster.real_image("busybox")
    case = Case(next(f for f in faults(image) if f.workflow == "crash-loop"), STORY)
    batch = Batch(world, narrator, [case])
    batch.prepare()
    narrator.block(world.kubectl("get", "deploy,pods", "-n", STORY))
    narrator.say(f"Now {case.fault.told}.")
    batch.break_all()
    narrator.block(world.kubectl("get", "deploy,pods", "-n", STORY))
    narrator.saw("the Deployment really crash-loops")
    audit = AuditLog(world.cluster.audit_log) if world.cluster.audit_log else None
    narrator.say("$ kubernaut run crash-loop -n shop -p deployment=web --name crash-loop-1 --watch")
    reason = f"--reason={case.fault.told}"
    name = ("--name", case.run)
    told = _kubernaut(
        world, "run", "crash-loop", "-n", STORY, "-p", "deployment=web", *name, reason, "--watch"
    )
    narrator.block(told)
    (run,) = world.get("workflowexecution", case.run, "-n", STORY)
    _check_repaired(narrator, case, run)
    _check_healthy(narrator, world)
    if audit is not None:
        _check_audit(narrator, list(audit.read()), run)
    narrator.say("$ kubernaut why crash-loop-1 -n shop")
    narrator.block(_kubernaut(world, "why", case.run, "-n", STORY))
    return case


def repair_many(narrator: Narrator, world: World) -> list[Manifest]:
    """The same for five faults in parallel namespaces."""
    kinds = faults(world.cluster.real_image("busybox"))
    count = len(kinds) * NAMESPACES_PER_FAULT
    narrator.heading(f"Five kinds of faults, {count} namespaces, side by side")
    for fault in kinds:
        narrator.say(f"- {fault.workflow}: {fault.told}")
    cases = [Case(fault, f"{fault.workflow}-{n}") for n in range(NAMESPACES_PER_FAULT) for fault in kinds]
    batch = Batch(world, narrator, cases)
    batch.prepare()
    batch.break_all()
    narrator.saw(f"{count} Deployments are really broken")
    runs = batch.run_all()
    by_workflow: dict[str, Counter[str]] = {}
    for run in runs:
        verdict = run["status"].get("verdict", "none")
        by_workflow.setdefault(run["spec"]["workflowRef"]["name"], Counter())[verdict] += 1
    for workflow, verdicts in sorted(by_workflow.items()):
        narrator.say(f"- {workflow}: {', '.join(f'{n} {v}' for v, n in verdicts.items())}")
    good = sum(verdicts["Remediated"] for verdicts in by_workflow.values())
    failed = [_gist(run) for run in runs if run["status"].get("verdict") != "Remediated"]
    for gist in failed:
        narrator.say(f"  {gist}")
    narrator.check(good == count, f"all {count} were repaired, and verified to be", f"{good} were")
    return runs


def figures(runs: list[Manifest]) -> dict[str, Any]:
    """Return, for each Workflow, how many runs there were, how many helped, and how long they took (seconds)."""
    report: dict[str, Any] = {}
    for workflow in sorted({run["spec"]["workflowRef"]["name"] for run in runs}):
        mine = [run["status"] for run in runs if run["spec"]["workflowRef"]["name"] == workflow]
        seconds = sorted(
            (datetime.fromisoformat(s["finishedAt"]) - datetime.fromisoformat(s["startedAt"])).total_seconds()
            for s in mine
        )
        report[workflow] = {
            "runs": len(mine),
            "remediated": sum(status["verdict"] == "Remediated" for status in mine),
            "seconds_median": statistics.median(seconds),
            "seconds_max": seconds[-1],
        }
    return report


def look_at_history(narrator: Narrator, world: World, expected: int) -> None:
    """What the mirror stored."""
    narrator.heading("What is remembered: the history in Postgres")
    dsn = world.postgres.dsn

    def complete() -> bool:
        return bool(asyncio.run(_one(dsn, "select count(*) from kubernaut.runs")) == expected)

    narrator.wait(f"the mirror has stored all {expected} runs", complete, 60)
    rows = asyncio.run(
        _rows(
            dsn,
            """select workflow, verdict, count(*) as runs, round(avg(duration_seconds)::numeric, 1) as seconds,
                      mode() within group (order by array_to_string(symptoms, ' ')) as symptoms
               from kubernaut.runs group by workflow, verdict order by workflow""",
        )
    )
    narrator.say("workflow | verdict | runs | mean seconds | symptoms")
    for row in rows:
        narrator.block(" | ".join(str(value) for value in row.values()))
    steps = asyncio.run(_one(dsn, "select count(*) from kubernaut.steps"))
    doubled = asyncio.run(_one(dsn, "select count(*) - count(distinct uid) from kubernaut.runs"))
    narrator.check(doubled == 0, f"{expected} runs with {steps} steps are stored, each once", doubled)


def look_at_patterns(narrator: Narrator, world: World, expected: int) -> None:
    """What the analyst learned."""
    narrator.heading("What was learned: DiscoveredPatterns")
    narrator.say("The analyst reads the history, clusters the runs with HDBSCAN and writes what it found.")

    def learned() -> list[Manifest] | None:
        found = [p for p in world.get("discoveredpatterns", "-A") if p.get("status", {}).get("support")]
        told = sum(p["status"]["support"] for p in found)
        return found if len(found) >= 4 and told >= 0.8 * expected else None

    patterns = narrator.wait("at least four patterns hold most of the runs", learned, 90, every=1.0)
    narrator.block(world.kubectl("get", "discoveredpatterns", "-A"))
    for pattern in patterns:
        status = pattern["status"]
        interval = status["success"]["interval"]
        narrator.block(
            f"{pattern['metadata']['name']}: {status['signature']['summary']}\n"
            f"   support {status['support']}, success {status['success']['rate']:.0%} "
            f"(95 % interval {interval['lower']:.0%} to {interval['upper']:.0%}), "
            f"recommended {status.get('recommended', {}).get('workflow')}, "
            f"exemplars {', '.join(e['namespace'] + '/' + e['name'] for e in status['exemplars'][:2])}"
        )
    complete = all(
        p["status"].get(key) for p in patterns for key in ("success", "signature", "exemplars", "recommended")
    )
    narrator.check(complete, f"{len(patterns)} patterns with support, interval, signature and recommendation")


def look_by_hand(narrator: Narrator, world: World) -> None:
    """How to go on from here."""
    narrator.heading("Look for yourself")
    bin_folder = Path(sys.executable).parent
    narrator.block(
        f"export KUBECONFIG={world.cluster.kubeconfig}\n"
        f"export PATH={world.cluster.kubectl.parent}:{bin_folder}:$PATH\n"
        f"export KUBERNAUT_DSN='{world.postgres.dsn}'\n"
        "kubectl get kwf,kwfe,kdp -A\n"
        "kubectl get kwfe crash-loop-1 -n shop -o yaml\n"
        "kubectl describe deployment web -n shop        # the signed marker of what was changed\n"
        "kubectl get controllerrevisions -n shop        # the Workflow's content the run used\n"
        "kubectl kubernaut why crash-loop-1 -n shop\n"
        "kubectl kubernaut patterns\n"
        "kubectl kubernaut stop --reason 'trying it out'   # and: kubectl kubernaut start\n"
        f"operator's log: {world.folder / 'operator.log'}\n"
        "make demo-down                                  # takes everything away again"
    )


def _check_repaired(narrator: Narrator, case: Case, run: Manifest) -> None:
    status = run["status"]
    narrator.check(status.get("verdict") == "Remediated", "the run's verdict is Remediated", _gist(run))
    steps = {step["name"]: step for step in status["steps"]}
    for sentence in steps["roll-back"].get("changed", []):
        narrator.say(f"changed: {sentence}")
    symptoms = steps["diagnose"]["outputs"]["symptoms"]
    narrator.check(
        "CrashLoopBackOff" in symptoms, f"diagnosed from the cluster: {', '.join(symptoms)}", symptoms
    )


def _check_healthy(narrator: Narrator, world: World) -> None:
    (found,) = world.get("deployment", "web", "-n", STORY)
    ready = found["status"].get("readyReplicas")
    narrator.block(world.kubectl("get", "deploy,pods", "-n", STORY))
    narrator.check(ready == 1, "the Deployment is ready again", found["status"])


def _check_audit(narrator: Narrator, requests: list[Request], run: Manifest) -> None:
    """The API server's own log says who did what, and how often."""
    repair = f"system:serviceaccount:{STORY}:kubernaut-repair"
    acts = [r for r in requests if r.persisted and r.user == repair]
    narrator.say("From the API server's audit log, what was written for this run:")
    operator = "system:serviceaccount:kubernaut-system:kubernaut-operator"
    ours = [r for r in requests if r.persisted and r.by == operator]
    for request in ours:
        narrator.block(f"{request.verb:7} {request.what:32} {request.name:28} as {request.user}")
    patches = [r for r in acts if r.resource == "deployments"]
    narrator.check(
        len(patches) == 1, "one patch of the Deployment, by the Workflow's own ServiceAccount", acts
    )
    # The log keeps no bodies of ConfigMaps and Secrets; of those nothing is claimed.
    shown = [r for r in ours if r.body is not None]
    narrator.check(
        bool(shown) and all(r.has_precondition for r in shown),
        f"each of the {len(shown)} writes carried a precondition",
    )


def _gist(run: Manifest) -> dict[str, Any]:
    status = run.get("status", {})
    name = f"{run['metadata']['namespace']}/{run['metadata']['name']}"
    return {"run": name, **{key: status.get(key) for key in ("phase", "verdict", "reason", "message")}}


def _can_i(world: World, account: str, verb: str, resource: str) -> str:
    try:
        return world.kubectl("auth", "can-i", verb, resource, "-A", f"--as={account}").strip()
    except Exception as error:  # noqa: BLE001 - kubectl exits 1 for "no"
        return "no" if "no" in str(error) else str(error)


def _kubernaut(world: World, *arguments: str) -> str:
    """Run our own command line tool as a person would."""
    env = {
        **os.environ,
        "KUBECONFIG": str(world.cluster.kubeconfig),
        "KUBERNAUT_DSN": world.postgres.dsn,
        "COLUMNS": "110",
    }
    command = [str(Path(sys.executable).parent / "kubernaut"), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise NotSeen(
            f"kubernaut {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


async def _one(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _rows(dsn: str, query: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [dict(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
