"""What is kept of objects and logs holds no values that are or look secret."""

from __future__ import annotations

import json

import pytest

from kubernaut.actions.diagnosis import redaction
from kubernaut.core.redacting import HIDDEN, redacted
from unit.actions.builders import container, deployment, template

CANARY = "hunter2-4711"


@pytest.mark.parametrize(
    "told",
    [
        f"connecting with password={CANARY} to db",
        f'{{"dbPassword": "{CANARY}", "port": 5}}',
        f"DB_TOKEN: '{CANARY} x'",
        f"--api-key={CANARY}",
        f"postgres://anna:{CANARY}@db/shop?x=1",
        f"Authorization: Bearer {CANARY}\nnext",
        f"sent bearer {CANARY} to them",
        f"Set-Cookie: theme=dark; session={CANARY}; Path=/",
        f"got eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl and password={CANARY}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----\nx",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
    ],
)
@pytest.mark.parametrize("around", ["", "served a page in 3 ms\n" * 1000], ids=["short", "long"])
def test_what_looks_secret_in_a_log_is_hidden(told: str, around: str) -> None:
    left = redacted(f"{around}{told}\n{around}")
    assert CANARY not in left
    assert "eyJ" not in left
    assert HIDDEN in left
    assert left.startswith(around)


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
    assert redacted(told) == told


def test_a_value_that_an_object_tells_is_hidden_wherever_it_appears() -> None:
    pod = template(
        container(env=[{"name": "DB_PASSWORD", "value": CANARY}, {"name": "MODE", "value": "production"}])
    )
    known = redaction.known_values([pod])
    assert known == {CANARY}
    assert (
        redacted(f"can't log in as {CANARY} in production", known)
        == f"can't log in as {HIDDEN} in production"
    )


@pytest.mark.parametrize("word", ["a" * 300_000, "password" * 40_000, "a-" * 150_000, "https://" * 40_000])
def test_one_endless_word_is_looked_through(word: str) -> None:
    assert HIDDEN not in redacted(word)


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


def test_what_a_key_calls_a_secret_is_hidden_wherever_it_stands_and_what_names_a_secret_is_not() -> None:
    template = {
        "metadata": {"annotations": {"example.com/api-token": "4711", "example.com/team": "shop"}},
        "spec": {"volumes": [{"secret": {"secretName": "bank"}}], "imagePullSecrets": [{"name": "registry"}]},
    }
    seen = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template}}
    told = redaction.manifest(seen)["spec"]["template"]
    assert told["metadata"]["annotations"] == {"example.com/api-token": "***", "example.com/team": "shop"}
    assert told["spec"] == template["spec"]


def test_what_follows_an_option_that_asks_for_a_secret_is_hidden() -> None:
    args = ["serve", "--token", "4711", "--level", "info", "--password=0815", "last", "--api-key"]
    seen = {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"args": args}]}}
    (container,) = redaction.manifest(seen)["spec"]["containers"]
    assert container["args"] == [
        "serve",
        "--token",
        "***",
        "--level",
        "info",
        "--password=***",
        "last",
        "--api-key",
    ]
