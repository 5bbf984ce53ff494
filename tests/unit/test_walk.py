"""What a page shows is compared with what is printed: in order, but for what no two walks have in common."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from node.walk import Typed, not_printed, type_again, walk

PAGE = """
## A walk

```console
$ kubectl patch x -p '[{"op": "replace",
    "value": 1}]'
$ helm install \\
    --wait
STATUS: deployed
…
```

## Another
"""


def test_a_command_goes_on_while_a_quotation_or_a_line_is_open() -> None:
    assert walk(PAGE, "A walk") == [
        [
            Typed('kubectl patch x -p \'[{"op": "replace",\n    "value": 1}]\''),
            Typed("helm install \\\n    --wait", ["STATUS: deployed", "…"]),
        ]
    ]


@pytest.mark.parametrize("heading", ["Another", "A"])
def test_a_heading_under_which_nothing_is_typed_is_no_walk(heading: str) -> None:
    with pytest.raises(ValueError, match=heading):
        walk(PAGE, heading)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("web-58787544d4-5ngmx   0/1   Error   6 (16s ago)   67s", "web-6c8d5f9b77-abcde 0/1 Error 2 4s"),
        ("web-58787544d4-5ngmx  Error  6 (16s ago)", "web-6c8d5f9b77-abcde CrashLoopBackOff 2 (1s ago)"),
        ("12:30:19.203  step a: Succeeded  21ms  6 times", "01:02:03.4 step a: Succeeded 1.2s 11 times"),
        ("effect  happened Yes: …", "effect  happened Yes: the mark"),
        ('{"digest": "9a945c3ae2bc43d6", "revision": 2}', '{"digest": "0000000000000000", "revision": 2}'),
        ("…", "anything"),
    ],
)
def test_what_no_two_walks_have_in_common_does_not_matter(shown: str, printed: str) -> None:
    assert not_printed([shown], ["before", printed, "after"]) == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a", "b"], ["b", "a"]),
        (["step a: Succeeded"], ["step a: Failed"]),
        (["web   1/1   Running"], ["web   0/1   Running"]),
        (['{"revision": 2}'], ['{"revision": 3}']),
        (["crash-loop   Succeeded   3/3"], ["crash-loop   Succeeded   2/3"]),
        (["effect  happened Yes: …"], ["effect  happened No: …"]),
    ],
)
def test_all_else_does(shown: list[str], printed: list[str]) -> None:
    assert not_printed(shown, printed) in shown


def test_what_is_typed_has_to_end_well_and_to_print_what_is_shown(tmp_path: Path) -> None:
    type_again(Typed("echo one; echo two >&2", ["one", "two"]), tmp_path, {})
    with pytest.raises(AssertionError, match="exit 3"):
        type_again(Typed("exit 3"), tmp_path, {})
    with pytest.raises(AssertionError, match="not printed: three"):
        type_again(Typed("echo one", ["one", "three"]), tmp_path, {})
    with pytest.raises(subprocess.TimeoutExpired):
        type_again(Typed("sleep 5"), tmp_path, {}, seconds=0.1)
