"""Where the API server is and who we are there: kubeconfig or the pod's own account, by the official package."""

from __future__ import annotations

import contextlib
import os
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from kubernetes.aio import client
from kubernetes.aio import config as package_config
from kubernetes.aio.client.rest import RESTClientObject

from kubernaut.core.errors import Unavailable

# The package's loaders have no types.
config: Any = package_config

_POD_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection needs to know.

    Attributes:
        host: URL of the API server, maybe with a path.
        namespace: the namespace that the kubeconfig's context or the pod is in.
        proxy: URL of a proxy, or None.
        server_name: the name in the server's certificate where it is not the host's.
        settings: the package's configuration; it renews tokens.
    """

    host: str
    namespace: str
    tls: ssl.SSLContext | None
    proxy: str | None
    server_name: str | None
    settings: Any

    async def authorization(self) -> str | None:
        """Return the Authorization header; a pod's token is read again when it is a minute old.

        Raises:
            Unavailable: it can't be had now, as while a kubelet writes it anew; nothing was sent.
        """
        try:
            key = await self.settings.get_api_key_with_prefix("BearerToken")
        except Exception as error:  # the package raises what comes: its own, OSError, what a plugin met
            raise Unavailable(f"the token can't be had: {type(error).__name__}: {error}") from error
        return str(key) if key else None


async def load_credentials(kubeconfig: Path | None = None, context: str | None = None) -> Credentials:
    """Load from the file given; else the pod's own account; else ``$KUBECONFIG`` or ``~/.kube/config``.

    Raises:
        Unavailable: there is none, or it can't be used; says which and why.
    """
    settings = client.Configuration()
    try:
        if kubeconfig is None and context is None and _in_pod():
            config.load_incluster_config(client_configuration=settings)
            namespace = _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.exists() else "default"
        else:
            namespace = await _from_file(settings, kubeconfig, context)
        rest = RESTClientObject(settings)
    except Unavailable:
        raise
    except Exception as error:  # the package raises what comes: its own, OSError, KeyError, yaml's, ssl's
        where = kubeconfig or "the kubeconfig"
        raise Unavailable(f"{where} can't be used: {type(error).__name__}: {error}") from error
    host = str(settings.host).rstrip("/")
    return Credentials(
        host=host,
        namespace=namespace,
        tls=rest.ssl_context if host.startswith("https:") else None,
        proxy=settings.proxy or _proxy_of_environment(host),
        server_name=settings.tls_server_name,
        settings=settings,
    )


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and _POD_TOKEN.exists()


async def _from_file(settings: Any, kubeconfig: Path | None, context: str | None) -> str:
    paths = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if not _any_exists(paths):
        raise Unavailable(
            f"no cluster is configured: there is no kubeconfig at {paths}; "
            "give one with --kubeconfig or KUBECONFIG, or bring up a local cluster with `make cluster`"
        )
    loader = await config.load_kube_config(
        config_file=paths, context=context, client_configuration=settings, persist_config=False
    )
    _demand_credentials(settings, loader)
    return str(loader.current_context["context"].get("namespace") or "default")


def _demand_credentials(settings: Any, loader: Any) -> None:
    """Raise Unavailable where the user's plugin gave nothing: the package would go on as nobody in particular."""
    plugin = loader._user.safe_get("exec") if loader._user is not None else None
    if plugin is not None and not settings.api_key and not settings.cert_file:
        raise Unavailable(
            f"{plugin['command']}, by which the kubeconfig logs in, gave no credentials", status=401
        )


def _any_exists(paths: str) -> bool:
    return any(Path(part).expanduser().is_file() for part in paths.split(os.pathsep) if part)


def _proxy_of_environment(host: str) -> str | None:
    # Once, and not per request as aiohttp's trust_env does, which costs a thread each time.
    parts = urllib.parse.urlsplit(host)
    if not parts.hostname or urllib.request.proxy_bypass(parts.hostname) or _spared(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _spared(host: str) -> bool:
    """Whether no_proxy names a network that an address is in: kubectl reads these, Python by itself does not."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for entry in listed.split(","):
        # What is no network, or no address, spares nothing here.
        with contextlib.suppress(ValueError):
            if "/" in entry and ip_address(host) in ip_network(entry.strip(), strict=False):
                return True
    return False
