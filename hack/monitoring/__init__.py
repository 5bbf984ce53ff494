"""A real Prometheus and a real Alertmanager on this machine, out of Debian's packages: unpacked, never installed."""

from monitoring.alertmanager import LocalAlertmanager
from monitoring.prometheus import LocalPrometheus
from monitoring.tools import Refused, amtool, promtool

__all__ = ["LocalAlertmanager", "LocalPrometheus", "Refused", "amtool", "promtool"]
