"""Whatever stdout and stderr are, what is told is whole or it is said that it is not."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from rich.table import Table

from kubernaut.cli import main
from kubernaut.cli.forms import Format
from kubernaut.cli.output import emit, show
from kubernaut.cli.views import runs
from unit.cli.samples import NOW, REPAIRED, run

ODD = {"message": "日本語 é 😀"}


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    """A file in which lint finds something."""
    file = tmp_path / "wrong.yaml"
    file.write_text("apiVersion: kubernaut.io/v1alpha1\nkind: Workflow\nmetadata: {name: wrong}\nspec: {}\n")
    return str(file)


@pytest.fixture
def errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Have stderr be a file from the first call on, and return what is in it."""
    with (tmp_path / "errors").open("w+", buffering=1) as stream:

        def told() -> str:
            # Not before the test begins, for pytest puts its own stream there until then.
            monkeypatch.setattr(sys, "stderr", stream)
            return Path(stream.name).read_text()

        yield told


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """Have stdout take one encoding only, as a locale may want it."""
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    return raw


def test_a_reader_that_goes_away_is_neither_success_nor_bad_input(
    wrong: str, errors: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert errors() == ""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["lint", wrong]) == 141
    assert errors() == ""


def test_a_full_disk_is_told(wrong: str, errors: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors() == ""
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["version"]) == 1
    assert "No space left on device" in errors()


def test_a_command_does_its_work_where_it_can_tell_nobody() -> None:
    code = "from kubernaut.cli import main; import sys; sys.exit(main(['actions']))"
    done = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, code], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_programs_read_is_the_same_in_every_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form, read in ((Format.JSON, json.loads), (Format.YAML, yaml.safe_load)):
        raw = encoded(monkeypatch, encoding)
        emit(ODD, form)
        assert read(raw.getvalue().decode(encoding)) == ODD


def test_what_a_terminal_can_not_write_is_escaped(
    tmp_path: Path, errors: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "日本語.yaml"
    file.write_text("[]")
    assert errors() == ""
    raw = encoded(monkeypatch, "latin-1")
    assert main(["lint", str(file)]) == 1
    assert rb"\u65e5\u672c\u8a9e.yaml:1" in raw.getvalue()


def test_an_argument_that_is_no_text_is_refused_but_for_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "-l", "a=\udcff"]) == 1
    assert r"'a=\udcff' is not UTF-8 text" in capsys.readouterr().err
    file = tmp_path / "caf\udce9.yaml"
    file.write_text("a: b")
    assert main(["lint", str(file)]) == 1
    assert "apiVersion and kind are required" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", ["20", "80"])
def test_no_name_in_a_list_is_cut_however_narrow_the_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "roll-back-after-a-bad-rollout-in-production-x7k2p"
    one = run(REPAIRED)
    one = one.replace(metadata=one.metadata.model_copy(update={"name": name}))
    monkeypatch.setenv("COLUMNS", columns)
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    listing = runs.listing([one], NOW, namespaces=True)
    assert isinstance(listing, Table)
    show(listing)
    shown = stdout.getvalue()
    assert name in shown
    assert "Deployment/checkout" in shown
    assert "5m" in shown
