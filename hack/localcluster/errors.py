"""The one exception of this package."""


class ClusterError(Exception):
    """Something about a local cluster failed; the message says what, to which object, and what to do."""
