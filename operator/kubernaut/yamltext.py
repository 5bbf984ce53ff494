"""YAML read as kubectl and Helm read it before the API server sees it: what is a text to them is one here, too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import yaml

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
#: numbers without those to the base of sixty: 22:00 is a time of day, and no 1320
_NUMBERS: Final = {
    "tag:yaml.org,2002:int": re.compile(
        r"[-+]?0b[0-1_]+$|[-+]?0[0-7_]+$|[-+]?(?:0|[1-9][0-9_]*)$|[-+]?0x[0-9a-fA-F_]+$"
    ),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?$|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
}


class ApiLoader(yaml.SafeLoader):
    """Leaves dates and times of day the texts that they are; y and n without quotes are none."""

    bool_values: ClassVar = {**yaml.SafeLoader.bool_values, "y": True, "n": False}


ApiLoader.yaml_implicit_resolvers = {
    first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in rules if tag != _TIMESTAMP]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

ApiLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]$"), list("yYnN"))


def load(text: str) -> Any:
    """Read one document; raises yaml.YAMLError, ValueError or, of one nested too deeply, RecursionError."""
    return yaml.load(text, ApiLoader)


def load_all(text: str) -> Iterator[Any]:
    """Read all documents; raises as ``load`` does."""
    yield from yaml.load_all(text, ApiLoader)
