"""A real Kubernetes on this machine: control plane, and a real node where the machine allows one.

Standard library only, so that it runs before any virtualenv exists.  ``python3 hack/localcluster --help``
is the command line; :class:`Cluster` is the same for tests and tools.
"""

from localcluster.cluster import Cluster
from localcluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError"]
