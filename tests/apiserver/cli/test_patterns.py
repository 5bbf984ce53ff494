"""What was learned."""

from __future__ import annotations

import json

from apiserver.cli.space import ANALYST, Space


def test_patterns_are_shown(space: Space) -> None:
    space.apply(
        {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "DiscoveredPattern",
            "metadata": {"name": "crashes"},
            "spec": {},
        }
    )
    rate = {"rate": 0.75, "interval": {"lower": 0.4, "upper": 0.9}, "remediated": 6, "concluded": 8}
    status = {"support": 8, "success": rate, "signature": {"summary": "CrashLoopBackOff of Deployments"}}
    patch = json.dumps({"status": status})
    space.kubectl(*ANALYST, "patch", "kdp", "crashes", "--subresource=status", "--type=merge", "-p", patch)
    assert space("patterns") == 0
    assert "75% (6/8, 95% interval 40-90%)" in space.out
    assert space("patterns", "crashes") == 0
    assert "CrashLoopBackOff of Deployments" in space.out
    assert space("patterns", "crashs") == 4
    assert "Did you mean crashes?" in space.err
