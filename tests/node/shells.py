"""Scripts for containers of an image that has a shell and little more."""

from __future__ import annotations

from typing import Any, Final

#: goes on until it is told to end, and ends at once then
STAYS: Final = "trap 'exit 0' TERM; while true; do sleep 0.2; done"
#: answers on port 8080
SERVES: Final = f"echo hello > /tmp/index.html; httpd -p 8080 -h /tmp; {STAYS}"


def asking(host: str, port: int) -> dict[str, Any]:
    """Return a readiness probe: the container asks a server by HTTP, and is answered."""
    # wget looks names up, also where there are none, by libraries that are not there.
    script = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {host} {port} | grep -q hello"
    often = {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 1}
    return {"exec": {"command": ["sh", "-c", script]}, **often}
