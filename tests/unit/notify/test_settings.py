"""Settings of notifications: what can't work is refused when the operator starts, in clear words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kubernaut.config import Settings

MAIL = {
    "NOTIFY_EMAIL_SERVER": "smtp.example.com:587",
    "NOTIFY_EMAIL_FROM": "kubernaut@example.com",
    "NOTIFY_EMAIL_TO": "sre@example.com,ops@example.com",
}
LOGIN = {"NOTIFY_EMAIL_USERNAME": "kubernaut", "NOTIFY_EMAIL_PASSWORD": "/etc/password"}
REFUSED = {
    "e-mail to nobody": ({"NOTIFY_EMAIL_SERVER": "smtp.example.com:25"}, "NOTIFY_EMAIL_FROM"),
    "no port": ({**MAIL, "NOTIFY_EMAIL_SERVER": "smtp.example.com"}, "pattern"),
    "no address": ({**MAIL, "NOTIFY_EMAIL_TO": "sre"}, "no e-mail address"),
    "a header in an address": ({**MAIL, "NOTIFY_EMAIL_FROM": "a@b\r\nBcc: c@d"}, "no e-mail address"),
    "a user without a password": ({**MAIL, "NOTIFY_EMAIL_USERNAME": "a"}, "go together"),
    "a password for all to read": ({**MAIL, **LOGIN, "NOTIFY_EMAIL_SECURITY": "none"}, "anybody to read"),
    "a token for nobody": ({"NOTIFY_WEBHOOK_TOKEN": "/etc/token"}, "needs KUBERNAUT_NOTIFY_WEBHOOK_URL"),
    "a link to what there is not": ({"NOTIFY_LINK": "https://x/{pod}"}, "{pod} can't be filled in"),
    "a link that looks inside": ({"NOTIFY_LINK": "https://x/{run.__class__}"}, "can't be filled in"),
    "a reminder each moment": ({"NOTIFY_REMIND_AFTER": "1ms"}, "at least 1s"),
}


def given(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"KUBERNAUT_{name}", value)
    return Settings()


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_work_is_refused(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    values, told = REFUSED[what]
    with pytest.raises(ValidationError) as refused:
        given(monkeypatch, values)
    assert told in str(refused.value)


def test_what_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        **MAIL,
        **LOGIN,
        "NOTIFY_LINK": "https://x/{namespace}/{run}#{step}",
        "NOTIFY_REMIND_AFTER": "30m",
    }
    assert given(monkeypatch, values).notify_email_security == "starttls"
