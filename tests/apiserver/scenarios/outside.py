"""Faults outside the cluster: a queue that somebody paused, an alert that pages while its cause is being mended."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any, Final

from apiserver.acting import Place, deployment
from apiserver.outside import Alertmanager, Queue, Served, ThisMachine
from apiserver.scenarios.scenario import Scenario, Where, deleted
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

TOKEN: Final = "a-token-that-nobody-tells"
WEB: Final = ThisMachine()
QUEUES: Final[dict[str, Queue]] = {}
ALERTMANAGERS: Final[dict[str, Alertmanager]] = {}


class Outside(Where):
    """What is not kept by the API server."""

    def read(self, place: Place) -> Manifest:
        kept: Any = (ALERTMANAGERS if self.resource == "alertmanager" else QUEUES)[place.namespace]
        state = json.loads(json.dumps(asdict(kept)))
        # What was silenced and is not any more is as it was.
        state["silences"] = [one for one in state.get("silences", ()) if one["status"]["state"] == "active"]
        return {"metadata": {}, "state": state}


def queue(place: Place) -> Manifest:
    """A Deployment, and a queue outside with its webhook and token in a Secret."""
    QUEUES[place.namespace] = kept = Queue(TOKEN)
    served = Served(kept.answer)
    place.at_the_end(served.stop)
    texts = {"url": f"{served.url}/resume", "token": TOKEN}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    place.create("v1", "secrets", {"metadata": {"name": "queue"}, "data": data})
    place.create("apps/v1", "deployments", deployment())
    return place.settled()


def paused(place: Place) -> None:
    QUEUES[place.namespace].paused = True


def is_paused(place: Place) -> bool:
    kept = QUEUES[place.namespace]
    assert kept.resumed <= 1, "it was resumed twice"
    return kept.paused


def watched(place: Place) -> Manifest:
    """A Deployment, and an Alertmanager outside."""
    ALERTMANAGERS[place.namespace] = kept = Alertmanager()
    served = Served(kept.answer)
    place.at_the_end(served.stop)
    WEB.alertmanager = served.url
    place.create("apps/v1", "deployments", deployment())
    return place.settled()


def fires(place: Place) -> None:
    # One of the same name in another namespace goes on paging.
    for namespace in (place.namespace, "another"):
        ALERTMANAGERS[place.namespace].alerts.append({"alertname": "Looping", "namespace": namespace})


def pages(place: Place) -> bool:
    kept = ALERTMANAGERS[place.namespace]
    assert len(kept.silences) <= 1, "two silences were made"
    firing = [alert["namespace"] for alert in kept.firing()]
    assert firing.count("another") == min(len(kept.alerts), 1), "another namespace's alert was silenced"
    return place.namespace in firing


_KEY: Final = {"name": "queue", "key": "token"}

SCENARIOS: Final = (
    Scenario(
        "http_request",
        {
            "urlFrom": {"name": "queue", "key": "url"},
            "headersFrom": [{"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": _KEY}],
            "body": {"by": "kubernaut"},
            "extract": {"resumed": "queue.resumed"},
        },
        healthy=queue,
        fault=paused,
        symptom=is_paused,
        changes=(Outside("", "queue", ""),),
        undoes=False,
        lost={"the Secret that says where to": deleted(Where("v1", "secrets", "queue"))},
        writes=0,
        context={"web": WEB},
        happened=Answer.UNKNOWN,
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "silence_alert",
        {"matchers": [{"name": "alertname", "value": "Looping"}], "duration": "5m"},
        healthy=watched,
        fault=fires,
        symptom=pages,
        changes=(Outside("", "alertmanager", ""),),
        writes=0,
        context={"web": WEB},
        happened=Answer.UNKNOWN,
        helped=Answer.UNKNOWN,
    ),
)
