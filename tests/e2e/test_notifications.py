"""People are told that a run waits for them: once, over a killed operator, and later where nobody listened."""

from __future__ import annotations

from datetime import UTC, datetime

from e2e.notified import notified
from e2e.websteps import note
from e2e.world import OPERATOR, Place, until
from kubernaut.notify.ledger import FILE, Ledger


def test_who_is_waited_for_is_told_once_by_each_channel_and_by_whom_it_was_answered(place: Place) -> None:
    world = place.world
    with (
        notified(world.folder / "notified") as people,
        world.other_operator(world.postgres.dsn, people.env()) as operator,
    ):
        # Others wait at the same time, of whom the same people are told.
        other = world.place()
        other.workflow({"name": "other", "approval": {"message": "And this?"}})
        another = other.run()
        another.step_is("other", "Waiting")
        place.workflow(
            {"name": "ask", "approval": {"message": "May it be changed?"}},
            note("change", "ask"),
            # A person decides what becomes of this one.
            {"name": "bad", "action": "restart_pod", "dependsOn": ["change"], "onFailure": "Manual"}
            | {"with": {"name": "there-is-none"}},
        )
        run = place.run()
        run.step_is("ask", "Waiting")
        asked, none = ["approval/ask/1"], list[str]()
        until("webhook and e-mail are told", lambda: people.keys(run.uid) == [asked, none, asked])
        until(
            "it is counted that Slack is away",
            lambda: operator.metric("kubernaut_notifications_total", channel="slack", outcome="unsent"),
        )
        since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        told = people.webhook.last(run.uid, "approval/ask/1")
        assert told["question"] == "May it be changed?"
        assert told["effects"][0].startswith("change: patch_resource (")
        assert told["link"] == f"https://console.example.com/{place.namespace}/run"

        ledger = operator.log.parent / "state" / FILE

        def written_down() -> bool:
            entry = Ledger(ledger.parent).load().get(f"{run.uid}/approval/ask/1", {})
            return set(entry.get("told", ())) >= {"webhook", "email"}

        until("that is written down", written_down)
        operator.kill()
        people.slack.start()
        world.restart_operator()
        until("Slack is told", lambda: people.keys(run.uid)[1] == asked)

        approve = told["commands"]["approve"].removeprefix("kubectl kubernaut ").split()
        # What is found out of the Workflow's rights meanwhile is written to the Workflow.
        written = [one for one in world.persisted(place.namespace, user=OPERATOR) if one.at > since]
        assert [one for one in written if one.resource != "workflows"] == []
        assert world.kubernaut(*approve).returncode == 0
        both = [*asked, "approval/ask/1/resolved", "remedy/bad/1"]
        until("all are told the answer", lambda: list(map(sorted, people.keys(run.uid))) == [both] * 3)
        assert people.webhook.last(run.uid, "approval/ask/1/resolved")["became"].startswith("Approved by ")

        # A replica that has lost its disk tells once more what is waited for, under the same key.
        operator.kill()
        ledger.unlink()
        world.restart_operator()
        until(
            "all are told once more",
            lambda: list(map(sorted, people.keys(run.uid))) == [[*both, both[2]]] * 3,
        )
        remedy = people.webhook.last(run.uid, "remedy/bad/1")
        assert remedy["why"].startswith("bad failed: ")
        skip = remedy["commands"]["skip"].removeprefix("kubectl kubernaut ").split()
        assert world.kubernaut(*skip).returncode == 0
        run.end()
        another.control(cancel=True)
        every = sorted([*both, both[2], "remedy/bad/1/resolved"])
        until("all are told the end", lambda: list(map(sorted, people.keys(run.uid))) == [every] * 3)
        log = operator.log.read_text()
        assert "canary" not in log.replace(place.namespace, "")
