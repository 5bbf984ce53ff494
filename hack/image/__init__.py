"""The container images, built without a container engine: OCI archives out of Debian packages and Python wheels.

``python3 hack/image build`` is the command line; :func:`build_or_cached` is the same for tests and tools.
"""

from image.builder import build_or_cached
from image.kinds import KINDS, Kind

__all__ = ["KINDS", "Kind", "build_or_cached"]
