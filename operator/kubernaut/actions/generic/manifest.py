"""A manifest as a step applies it: what it may hold, and what the API server would make of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from kubernaut.actions import guards
from kubernaut.api.base import DnsName
from kubernaut.api.names import GROUP
from kubernaut.api.steps import ApiVersion, KindName
from kubernaut.core.ports import Manifest

MAX_BYTES: Final = 64 * 1024
_MODEL: Final = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)
_Text = Annotated[str, StringConstraints(max_length=4096)]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=317)]


class AppliedMeta(BaseModel):
    """Metadata that a step may apply."""

    model_config = _MODEL | {"extra": "forbid"}

    name: DnsName
    namespace: DnsName | None = None
    labels: Annotated[dict[_Key, _Text], Field(max_length=64)] = Field(default_factory=dict)
    annotations: Annotated[dict[_Key, _Text], Field(max_length=64)] = Field(default_factory=dict)


class AppliedManifest(BaseModel):
    """One object, or some of its fields, as people declare it; everything but its metadata is as its kind says."""

    model_config = _MODEL | {"extra": "allow"}
    __pydantic_extra__: dict[str, JsonValue]

    api_version: ApiVersion
    kind: KindName
    metadata: AppliedMeta

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        refusal = guards.object_refusal(self.api_version, self.kind, self.metadata.name)
        # The top of an apply names the object; of the rest it is a patch like any other.
        meta = {"labels": self.metadata.labels, "annotations": self.metadata.annotations}
        refusal = refusal or guards.patch_refusal({**self.rest, "metadata": meta})
        if refusal is not None:
            raise ValueError(refusal)
        for path in _nulls(self.rest, ""):
            raise ValueError(f"{path} is null; leave out what is not to be set")
        if (size := len(json.dumps(self.rest).encode())) > MAX_BYTES:
            raise ValueError(f"the manifest takes {size} bytes; at most {MAX_BYTES} are applied by a step")
        return self

    @property
    def rest(self) -> dict[str, JsonValue]:
        """All but apiVersion, kind and metadata."""
        return dict(self.__pydantic_extra__ or {})

    def plain(self, namespace: str) -> Manifest:
        """Return it as JSON, in a namespace."""
        meta: dict[str, Any] = {"name": self.metadata.name, "namespace": namespace}
        for key, given in (("labels", self.metadata.labels), ("annotations", self.metadata.annotations)):
            if given:
                meta[key] = dict(given)
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": meta, **self.rest}


def declared(manifest: Mapping[str, Any]) -> Manifest:
    """Return what people declare of an object as read: no status, nothing of the API server's or of Kubernaut's."""
    meta = manifest["metadata"]
    given = (meta.get("annotations") or {}).items()
    annotations = {key: text for key, text in given if not _own(key)}
    rest = {key: value for key, value in manifest.items() if key not in ("metadata", "status")}
    kept = {"labels": dict(meta.get("labels") or {}), "annotations": annotations}
    return {**rest, "metadata": kept}


def content(manifest: Mapping[str, Any], annotations: Iterable[str]) -> str:
    """Return what is declared of an object as one text; of annotations only these, for controllers write others."""
    one = declared(manifest)
    given = one["metadata"]["annotations"]
    one["metadata"]["annotations"] = {key: given.get(key) for key in annotations}
    return json.dumps(one, sort_keys=True, separators=(",", ":"))


def _own(key: str) -> bool:
    prefix = key.partition("/")[0]
    return "/" in key and (prefix == GROUP or prefix.endswith(f".{GROUP}"))


def _nulls(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, inner in node.items():
            yield from _nulls(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for at, inner in enumerate(node):
            yield from _nulls(inner, f"{path}[{at}]")
    elif node is None:
        yield path
