"""The dashboard of what was of use: verdicts, by Workflow and over time, and what was learned from them."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Panel, Query, Row, of, quantile, rate, within

_GOOD: Final = 'verdict="Remediated"'
_CONCLUDED: Final = 'verdict=~"Remediated|NotFixed|RolledBack"'
_NO_HELP: Final = 'verdict=~"NotFixed|RolledBack|Inconclusive"'
_NOTHING_TO_DO: Final = 'verdict=~"SelfHealed|NoActionRequired|Declined"'
_RATE, _LOWER, _UPPER = (f'bound="{name}"' for name in ("rate", "lower", "upper"))
_RUNS: Final = "kubernaut_runs_finished_total"
_BY_WORKFLOW: Final = "kubernaut_workflow_runs_total"
_HELPED: Final = Row(
    "Did it help?",
    (
        Panel(
            "Effectiveness",
            "Within the time looked at: runs that ended Remediated, of those that ended so, NotFixed or RolledBack.",
            (Query(f"sum({within(_RUNS, _GOOD)}) / sum({within(_RUNS, _CONCLUDED)})"),),
            "stat",
            "percentunit",
            levels=(0.8, 0.5),
            width=4,
            most=1,
        ),
        Panel(
            "Runs, by verdict",
            "Within the time looked at.",
            (Query(f"sum by (verdict) ({within(_RUNS)})", "{{verdict}}"),),
            "bargauge",
            width=8,
        ),
        Panel(
            "Effectiveness over time",
            "The same of each hour before.",
            (
                Query(
                    f"sum(increase({of(_RUNS, _GOOD)}[1h])) / sum(increase({of(_RUNS, _CONCLUDED)}[1h]))",
                    "effectiveness",
                ),
            ),
            unit="percentunit",
            width=12,
            levels=(0.8, 0.5),
            most=1,
        ),
        Panel(
            "Runs over time, by verdict",
            "A minute.",
            (Query(f"60 * sum by (verdict) ({rate(_RUNS)})", "{{verdict}}"),),
            unit="cpm",
            width=12,
            stacked=True,
        ),
        Panel(
            "How long a repair takes",
            "Runs that ended Remediated, from the first step to the verdict.",
            (
                Query(quantile(0.5, "kubernaut_run_duration_seconds", _GOOD), "p50"),
                Query(quantile(0.95, "kubernaut_run_duration_seconds", _GOOD), "p95"),
            ),
            unit="s",
            width=12,
        ),
    ),
)
_WORKFLOWS: Final = Row(
    "By Workflow",
    (
        Panel(
            "Effectiveness, by Workflow",
            "Of 50 Workflows at most; those beyond are together called others. Within the time looked at.",
            (
                Query(
                    f"sum by (workflow) ({within(_BY_WORKFLOW, _GOOD)})"
                    f" / (sum by (workflow) ({within(_BY_WORKFLOW, _CONCLUDED)}) > 0)",
                    "{{workflow}}",
                ),
            ),
            "bargauge",
            "percentunit",
            levels=(0.8, 0.5),
            width=12,
            most=1,
        ),
        Panel(
            "Runs, by Workflow and verdict",
            "Within the time looked at.",
            (Query(f"sum by (workflow, verdict) ({within(_BY_WORKFLOW)}) > 0"),),
            "table",
            width=12,
        ),
        Panel(
            "Runs that did not help, by Workflow",
            "The ten Workflows with most of them. One that is often here is a wrong remedy, or has a wrong trigger.",
            (
                Query(
                    f"topk(10, sum by (workflow) (increase({of(_BY_WORKFLOW, _NO_HELP)}[1h])))",
                    "{{workflow}}",
                ),
            ),
            width=12,
            stacked=True,
        ),
        Panel(
            "Runs that had nothing to do, by Workflow",
            "An hour: SelfHealed, NoActionRequired or Declined. If many: alerts come early, or guards are strict.",
            (
                Query(
                    f"topk(10, sum by (workflow) (increase({of(_BY_WORKFLOW, _NOTHING_TO_DO)}[1h])))",
                    "{{workflow}}",
                ),
            ),
            width=12,
            stacked=True,
        ),
    ),
)
_PATTERNS: Final = Row(
    "Patterns",
    (
        Panel(
            "Patterns",
            "Patterns that runs belong to now.",
            (Query(f"sum({of('kubernaut_patterns')})"),),
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Runs analysed",
            "Finished runs that the analyst knows.",
            (Query(f"sum({of('kubernaut_analysis_runs')})"),),
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Runs in no pattern",
            "Share of the runs analysed. Much of it: the incidents are new, or have nothing in common.",
            (Query(f"sum({of('kubernaut_analysis_noise_runs')}) / sum({of('kubernaut_analysis_runs')})"),),
            "stat",
            "percentunit",
            levels=(0.5, 0.8),
            width=4,
            height=4,
        ),
        Panel(
            "Since the last analysis",
            "Since a round ended well. It is done every minute by default.",
            (Query(f"time() - max({of('kubernaut_analysis_last_success_timestamp_seconds')})"),),
            "stat",
            "s",
            levels=(600, 3600),
            width=4,
            height=4,
        ),
        Panel(
            "Duration of an analysis, by phase",
            "Mean of the rounds.",
            (
                Query(
                    f"sum by (phase) ({rate('kubernaut_analysis_round_duration_seconds_sum')})"
                    f" / sum by (phase) ({rate('kubernaut_analysis_round_duration_seconds_count')})",
                    "{{phase}}",
                ),
            ),
            unit="s",
            stacked=True,
        ),
        Panel(
            "Success of the 20 largest patterns",
            "Share of the concluded runs that ended Remediated; below it the lower bound of the 95 % interval.",
            (
                Query(
                    f"max by (pattern) ({of('kubernaut_pattern_success_ratio', _RATE)})",
                    "{{pattern}}",
                ),
            ),
            "bargauge",
            "percentunit",
            levels=(0.8, 0.5),
            width=8,
            most=1,
        ),
        Panel(
            "The 20 largest patterns",
            "Runs, success rate and the bounds of its interval.",
            (
                Query(f"max by (pattern) ({of('kubernaut_pattern_runs')})"),
                Query(f"max by (pattern) ({of('kubernaut_pattern_success_ratio', _RATE)})"),
                Query(f"max by (pattern) ({of('kubernaut_pattern_success_ratio', _LOWER)})"),
                Query(f"max by (pattern) ({of('kubernaut_pattern_success_ratio', _UPPER)})"),
            ),
            "table",
            width=8,
        ),
        Panel(
            "Writes of the analyst",
            "Requests for DiscoveredPatterns a minute, by purpose.",
            (
                Query(
                    f"60 * sum by (purpose) ({rate('kubernaut_analysis_api_writes_total')})",
                    "{{purpose}}",
                ),
            ),
            unit="cpm",
        ),
    ),
)
BOARD: Final = Board(
    "effectiveness",
    "Kubernaut / Effectiveness and patterns",
    "Whether repairs help, which Workflows do, and what was learned from past runs.",
    ("kubernaut_heartbeat_timestamp_seconds", "kubernaut_analysis_rounds_total"),
    (_HELPED, _WORKFLOWS, _PATTERNS),
    since="now-24h",
)
