"""A Prometheus that scrapes what it is told to, every second, and sends its alerts to an Alertmanager."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from localrun.process import free_port
from monitoring.program import Program
from monitoring.programs import programs

Section = dict[str, Any]


class LocalPrometheus(Program):
    """Keeps its series in ``folder``."""

    def __init__(
        self, folder: Path, scrapes: Sequence[Section], rules: Sequence[Section] = (), alertmanager: str = ""
    ) -> None:
        """Take scrape configurations, groups of rules, and HOST:PORT of an Alertmanager, as in Prometheus' own files.

        Raises:
            localcluster.errors.ClusterError: the program can't be had.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": list(rules)}))
        config: Section = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": list(scrapes),
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = (
            str(programs() / "prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            # Debian's package has its pages elsewhere, and nobody looks at them here.
            f"--web.console.templates={folder}",
            f"--web.console.libraries={folder}",
            "--rules.alert.resend-delay=5s",
        )
        super().__init__(command, folder, port)

    def ask(self, expression: str) -> list[Section]:
        """Return the series that an expression gives now.

        Raises:
            urllib.error.HTTPError: it is none.
        """
        found: list[Section] = self.get("/api/v1/query", query=expression)["data"]["result"]
        return found

    def values(self, label: str, selector: str) -> list[str]:
        """Return the values that a label has in the series that a selector chooses."""
        found: list[str] = self.get(f"/api/v1/label/{label}/values", **{"match[]": selector})["data"]
        return found

    def alerts(self) -> list[Section]:
        """Return the alerts that are pending or firing."""
        found: list[Section] = self.get("/api/v1/alerts")["data"]["alerts"]
        return found
