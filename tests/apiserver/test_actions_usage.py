"""What is refused where the cluster serves no metrics."""

from __future__ import annotations

import pytest

from apiserver.acting import Place
from apiserver.metrics import no_metrics
from apiserver.scenarios.workloads import made
from kubernaut.actions.workloads.optimize_resources import OptimizeResources, OptimizeResourcesParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError


async def test_a_cluster_that_serves_no_metrics_is_told_and_nothing_is_done(place: Place) -> None:
    no_metrics(place)
    target = made("Deployment")(place)
    action, parameters = OptimizeResources(), OptimizeResourcesParameters()
    context = place.context(target)
    account = place.account(action.rights(context.target, parameters))
    with pytest.raises(StepError, match="serves no metrics of pods") as caught:
        await action.perform(account, context, parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert sum(place.connection.mutations.values()) == 0
