"""A cluster's state as a file: a List of objects, as ``kubectl get -o json`` writes it too."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

from kubernaut import yamltext
from kubernaut.core.errors import KubernautError
from kubernaut.core.fields import without_nulls
from kubernaut.core.ports import Manifest

#: stands for each value of a Secret in a file
_HIDDEN: Final = base64.b64encode(b"not kept").decode()


class StateInvalid(KubernautError):
    """A file that holds no state: what is wrong, where, and what to do."""

    def __init__(self, field: str, message: str, fix: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.fix = fix


def read(text: str) -> list[Manifest]:
    """Read a state.

    Raises:
        StateInvalid: the text is none.
    """
    try:
        data = json.loads(text) if text.lstrip().startswith("{") else yamltext.load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise StateInvalid(
            "(file)", f"is neither JSON nor YAML: {error}", "Write one List of objects."
        ) from None
    if not isinstance(data, Mapping) or not isinstance(data.get("items"), list):
        fix = "Make it with --save-state, or with `kubectl get deploy,rs,pods,... -o json`."
        raise StateInvalid("items", "is no list: this is not a List of objects", fix)
    return [_checked(at, one) for at, one in enumerate(data["items"])]


def _checked(at: int, one: Any) -> Manifest:
    fix = "Keep objects as the API server returns them; apiVersion, kind and metadata.name are required."
    where = f"items[{at}]"
    if not isinstance(one, dict):
        raise StateInvalid(where, "is no object", fix)
    for name in ("apiVersion", "kind"):
        if not isinstance(one.get(name), str) or not one[name]:
            raise StateInvalid(f"{where}.{name}", "is required", fix)
    meta = one.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not meta["name"]:
        raise StateInvalid(f"{where}.metadata.name", "is required", fix)
    # As the API server would have it: what is null is not there.
    given: Manifest = without_nulls(copy.deepcopy(one))
    for path, problem in _misshapen(given):
        raise StateInvalid(f"{where}.{path}", problem, fix)
    # A file written by hand has neither; what refers to an object by its UID must have both.
    given["metadata"].setdefault(
        "uid", f"simulated-{one['kind']}-{meta.get('namespace', '')}-{meta['name']}".lower()
    )
    given["metadata"].setdefault("resourceVersion", "1")
    return given


def _misshapen(one: Manifest) -> Iterator[tuple[str, str]]:
    """Yield what every object has in another shape than the API server gives it."""
    meta = one["metadata"]
    parts = [("spec", one.get("spec")), ("status", one.get("status"))]
    parts += [(f"metadata.{name}", meta.get(name)) for name in ("labels", "annotations")]
    yield from (
        (path, "is no map") for path, part in parts if part is not None and not isinstance(part, dict)
    )
    for name in ("namespace", "uid", "resourceVersion"):
        if not isinstance(meta.get(name, ""), str):
            yield f"metadata.{name}", "is no text"
    owners = meta.get("ownerReferences", [])
    named = ("apiVersion", "kind", "name", "uid")
    if not isinstance(owners, list) or any(
        not isinstance(owner, dict) or not all(isinstance(owner.get(name), str) for name in named)
        for owner in owners
    ):
        yield "metadata.ownerReferences", f"is no list of maps with {', '.join(named)}"


def write(manifests: Iterable[Mapping[str, Any]]) -> str:
    """Write a state; what Secrets hold is not in it."""
    items = [_without_secrets(one) for one in manifests]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1) + "\n"


def _without_secrets(one: Mapping[str, Any]) -> Manifest:
    kept = dict(copy.deepcopy(dict(one)))
    kept["metadata"].pop("managedFields", None)
    if kept["kind"] == "Secret":
        kept["data"] = dict.fromkeys(kept.get("data") or {}, _HIDDEN)
        annotations = kept["metadata"].get("annotations") or {}
        annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return kept
