"""Ways to get a cluster, each a module; ``choose`` takes the first that works."""

from __future__ import annotations

from typing import Protocol

from localcluster.errors import ClusterError
from localcluster.progress import Progress
from localcluster.providers.assets import Assets
from localcluster.providers.given import Given
from localcluster.providers.kind import Kind
from localcluster.providers.modules import Modules
from localcluster.request import Request
from localcluster.state import State


class ClusterProvider(Protocol):
    """One way to get a cluster.

    ``usable`` is cheap and says whether this way is open here; ``up`` raises ClusterError when it fails.
    """

    name: str

    def usable(self, request: Request) -> bool: ...

    def up(self, request: Request, progress: Progress) -> State: ...

    def down(self, state: State) -> None: ...

    def load_image(self, state: State, archive: str) -> None: ...


PROVIDERS: tuple[ClusterProvider, ...] = (Given(), Kind(), Assets(), Modules())


def choose(request: Request) -> ClusterProvider:
    for provider in PROVIDERS:
        if provider.usable(request):
            return provider
    raise ClusterError(
        "no way to get a cluster here: give a kubeconfig in KUBERNAUT_KUBECONFIG, start Docker (with kind in PATH), "
        "or use a Linux machine, where Kubernetes is built from its Go modules"
    )


def of(state: State) -> ClusterProvider:
    return next(provider for provider in PROVIDERS if provider.name == state.provider)
