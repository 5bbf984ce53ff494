"""What is kept of objects and logs holds no values that are or look secret."""

from __future__ import annotations

import json
import time

import pytest

from kubernaut.actions.diagnosis import redaction
from kubernaut.actions.diagnosis.redaction import HIDDEN
from unit.actions.builders import container, deployment, template

CANARY = "hunter2-4711"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (f"connecting with password={CANARY} to db", f"connecting with password={HIDDEN} to db"),
        (f'{{"dbPassword": "{CANARY}", "port": 5}}', f'{{"dbPassword": {HIDDEN}, "port": 5}}'),
        (f"DB_TOKEN: '{CANARY} x'", f"DB_TOKEN: {HIDDEN}"),
        (f"--api-key={CANARY}", f"--api-key={HIDDEN}"),
        (f"postgres://anna:{CANARY}@db/shop?x=1", f"postgres://anna:{HIDDEN}@db/shop?x=1"),
        (f"Authorization: Bearer {CANARY}\nnext", f"Authorization: {HIDDEN}\nnext"),
        (f"sent bearer {CANARY} to them", f"sent bearer {HIDDEN} to them"),
        (f"Set-Cookie: session={CANARY}; Path=/", f"Set-Cookie: {HIDDEN}"),
        ("got eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl here", f"got {HIDDEN} here"),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----\nx", f"{HIDDEN}\nx"),
        (f"-----BEGIN PRIVATE KEY-----\n{CANARY}", HIDDEN),
        ("key AKIAIOSFODNN7EXAMPLE used", f"key {HIDDEN} used"),
    ],
)
def test_what_looks_secret_in_a_log_is_hidden(told: str, left: str) -> None:
    assert redaction.text(told) == left


@pytest.mark.parametrize(
    "told",
    [
        "listening on http://0.0.0.0:8080/healthz",
        "Back-off 5m0s restarting failed container=app",
        "panic: runtime error: index out of range [3]\n\tat main.go:12",
        "key not found: user=anna",
    ],
)
def test_what_does_not_stays(told: str) -> None:
    assert redaction.text(told) == told


def test_a_value_that_an_object_tells_is_hidden_wherever_it_appears() -> None:
    pod = template(
        container(env=[{"name": "DB_PASSWORD", "value": CANARY}, {"name": "MODE", "value": "production"}])
    )
    known = redaction.known_values([pod])
    assert known == {CANARY}
    assert (
        redaction.text(f"can't log in as {CANARY} in production", known)
        == f"can't log in as {HIDDEN} in production"
    )


@pytest.mark.parametrize("word", ["a" * 300_000, "password" * 40_000, "a-" * 150_000, "https://" * 40_000])
def test_one_endless_word_takes_no_time(word: str) -> None:
    began = time.monotonic()
    redaction.text(word)
    assert time.monotonic() - began < 5


def test_an_object_keeps_its_shape_and_loses_values() -> None:
    variables = [
        {"name": "MODE", "value": CANARY},
        {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ]
    seen = deployment(pod=template(container(env=variables, args=["--port=80", f"--password={CANARY}"])))
    seen["metadata"] |= {
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"x": CANARY}),
            "step.kubernaut.io/run-1": CANARY,
            "team": "a",
        },
        "managedFields": [{"manager": "kubectl"}],
    }
    left = redaction.manifest(seen)
    assert CANARY not in json.dumps(left)
    assert left["metadata"]["annotations"] == {"team": "a"}
    assert "managedFields" not in left["metadata"]
    (app,) = left["spec"]["template"]["spec"]["containers"]
    assert app["env"] == [{"name": "MODE", "value": HIDDEN}, variables[1]]
    assert app["args"] == ["--port=80", f"--password={HIDDEN}"]
    assert left["spec"]["replicas"] == 2


def test_of_a_secret_only_the_keys_stay() -> None:
    seen = {
        "kind": "Secret",
        "metadata": {"name": "db"},
        "data": {"user": "aHVudGVyMg=="},
        "stringData": {"x": CANARY},
        "type": "Opaque",
    }
    left = redaction.manifest(seen)
    assert left["data"] == {"user": HIDDEN}
    assert left["stringData"] == {"x": HIDDEN}
    assert left["type"] == "Opaque"


def test_of_a_config_map_what_speaks_of_secrets_goes() -> None:
    data = {"port": "80", "token": CANARY, "settings.ini": f"[db]\npassword = {CANARY}\n"}
    left = redaction.manifest({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    assert left["data"] == {"port": "80", "token": HIDDEN, "settings.ini": HIDDEN}
