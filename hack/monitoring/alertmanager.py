"""An Alertmanager that tells one webhook of its alerts, at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from localrun.process import free_port
from monitoring.program import Program
from monitoring.programs import programs


class LocalAlertmanager(Program):
    """Keeps what it has told in ``folder``."""

    def __init__(self, folder: Path, webhook: str = "", token: str = "") -> None:
        """Take the webhook's URL and the bearer token for it; without one, nobody is told.

        Raises:
            localcluster.errors.ClusterError: the program can't be had.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(token)
        authorization = {"type": "Bearer", "credentials_file": str(folder / "token")}
        told: dict[str, Any] = {
            "url": webhook,
            "send_resolved": True,
            "http_config": {"authorization": authorization},
        }
        config: dict[str, Any] = {
            "route": {
                "receiver": "kubernaut",
                "group_by": ["alertname", "namespace"],
                "group_wait": "500ms",
                "group_interval": "1s",
                "repeat_interval": "1m",
            },
            "receivers": [{"name": "kubernaut", **({"webhook_configs": [told]} if webhook else {})}],
        }
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = (
            *_with_its_templates(programs()),
            str(programs() / "prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yaml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            # One alone; it looks for no others.
            "--cluster.listen-address=",
        )
        super().__init__(command, folder, port)

    @property
    def address(self) -> str:
        """HOST:PORT, as Prometheus wants it."""
        return f"127.0.0.1:{self.port}"


def _with_its_templates(folder: Path) -> tuple[str, ...]:
    """Return what runs Debian's program with the templates it insists on in their place, which is not ours to write.

    They are put there in a mount namespace of the program's own, so nobody else sees them.
    """
    share = folder.parent / "share"
    rights = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    mount = 'mount --bind "$0" /usr/share && exec "$@"'
    return ("unshare", *rights, "--mount", "sh", "-c", mount, str(share))
