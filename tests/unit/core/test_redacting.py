"""Texts of others are told without what they call a secret, and otherwise as they are."""

from __future__ import annotations

import pytest

from kubernaut.core.redacting import HIDDEN, each_text, named_secret, redacted, refusal, tells_secret

WORD = "Xy+12/abCD=9f"
TOLD = {
    "an assignment": f"password={WORD}",
    "a blank after the sign": f"db.password: {WORD}",
    "a value in quotes": f"api_key = '{WORD}'",
    "a value with blanks in quotes": f'secret="{WORD} and {WORD}"',
    "JSON": f'{{"user": "shop", "accessToken": "{WORD}"}}',
    "JSON in JSON": f'"{{\\"password\\": \\"{WORD}\\"}}"',
    "an option": f"--db-password={WORD} --port 80",
    "an option and its value": f"--token {WORD} --port 80",
    "a URL with a password": f"postgres://shop:{WORD.replace('/', '_')}@db:5432/shop",
    "a URL with a token": f"GET https://x.example.com/?a=1&access_token={WORD}&b=2",
    "a header": f"Authorization: Bearer {WORD}",
    "a header in JSON": f'{{"Authorization": "Basic {WORD}"}}',
    "a cookie": f"Set-Cookie: session={WORD}; Path=/",
    "a JSON Web Token": "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.Xy12abCD9f",
    "a key of AWS": "id AKIAIOSFODNN7EXAMPLE",
    "a token of GitHub": "ghp_Xy12abCD9fXy12abCD9fXy12abCD9f",
    "a private key": f"-----BEGIN RSA PRIVATE KEY-----\n{WORD}\n{WORD}\n-----END RSA PRIVATE KEY-----",
    "the end of a private key": f"{WORD}{WORD}{WORD}\n-----END PRIVATE KEY-----",
    "the beginning of a private key": f"-----BEGIN PRIVATE KEY-----\n{WORD}\n{WORD}",
}
PLAIN = (
    "Back-off restarting failed container app in pod web-1",
    "Liveness probe failed: HTTP probe failed with statuscode: 500",
    "GET https://x.example.com/orders?page=2 200",
    "listening on http://0.0.0.0:8080",
    "the passing of tokens is slow",
    "MountVolume.SetUp failed for volume: secret not found",
    "2026-01-01T00:00:00Z level=info replicas=3",
)


@pytest.mark.parametrize("text", TOLD.values(), ids=TOLD)
def test_what_is_called_a_secret_is_not_told(text: str) -> None:
    told = redacted(f"before; {text}\nafter")
    assert HIDDEN in told
    assert told.startswith("before; ")
    for word in ("Xy12", "Xy+12", "abCD", "IOSFODNN7"):
        assert word not in told, told
    assert tells_secret(text)


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_are_told_as_they_are(text: str) -> None:
    assert redacted(text) == text
    assert not tells_secret(text)


def test_what_was_redacted_is_told_the_same_again() -> None:
    for text in TOLD.values():
        assert redacted(redacted(text)) == redacted(text)


def test_every_text_of_a_value_is_redacted_and_its_shape_stays() -> None:
    value = {"a": [f"token={WORD}", 7, None, {"b": "plain"}], "c": True}
    assert each_text(value) == {"a": [f"token={HIDDEN}", 7, None, {"b": "plain"}], "c": True}


def test_names_say_that_a_value_is_a_secret() -> None:
    assert all(map(named_secret, ("password", "dbPassword", "api_key", "TOKEN", "client-secret")))
    assert not any(map(named_secret, ("deployment", "replicas", "key", "name")))


REFUSALS = {
    "a whole object that can't be decoded": (
        ' "" is invalid: patch: Invalid value: "{\\"spec\\":{\\"env\\": \\"WORD\\"}}": json: cannot unmarshal object',
        ' "" is invalid: patch: Invalid value: (not told): json: cannot unmarshal object',
    ),
    "what stands around a mistake": (
        'can not be handled: x, error found in #10 byte of ...|"env":"WORD"|..., bigger context ...|WORD|...',
        "can not be handled: x",
    ),
    "an immutable field as JSON": (
        'data: Invalid value: {"spec":{"env":"WORD: }"}}: field is immutable',
        "data: Invalid value: (not told): field is immutable",
    ),
    "an immutable field as Go prints it": (
        'spec.template: Invalid value: core.Pod{Env:[]core.EnvVar{core.EnvVar{Value:"WORD"}}}: field is immutable',
        "spec.template: Invalid value: (not told): field is immutable",
    ),
    "several": (
        '[spec.a: Invalid value: "x y": no blanks, b: Invalid value: ["WORD"]: many, c: Invalid value: 7: large]',
        '[spec.a: Invalid value: "x y": no blanks, b: Invalid value: (not told): many, c: Invalid value: 7: large]',
    ),
    "a long text": (f'a: Invalid value: "{"WORD" * 30}": too long', "a: Invalid value: (not told): too long"),
    "a text that was cut": ('a: Invalid value: "WORD and ', "a: Invalid value: (not told)"),
    "another message": ("deployments.apps x not found", "deployments.apps x not found"),
}


@pytest.mark.parametrize(("told", "expected"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_does_not_quote_the_object(told: str, expected: str) -> None:
    assert refusal(told) == expected


def test_a_path_that_does_not_exist_is_no_secret() -> None:
    told = "ls: /var/run/secrets: No such file or directory"
    assert redacted(told) == told
