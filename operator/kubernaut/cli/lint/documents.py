"""YAML documents that remember where each field was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from kubernaut.yamltext import ApiLoader

_TOKEN: Final = re.compile(r"[^.\[\]]+")


class NotYaml(Exception):
    """The text is not YAML; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One object as written: its source, the node it was read from, and its data."""

    source: str
    node: yaml.Node
    data: Any

    def line(self, path: str = "") -> int:
        """Return the line, from 1, of a field such as ``spec.steps[1].action``, or of what is nearest around it."""
        node = self.node
        line = _line(node)
        for token in _TOKEN.findall(path):
            found = _child(node, token)
            if found is None:
                break
            line, node = found
        return line

    def line_of_key(self, path: str, key: str) -> int:
        """Return the line of a key that may hold dots, such as an entry of a ConfigMap."""
        found = _child(self.node, path)
        entry = _child(found[1], key) if found is not None else None
        return entry[0] if entry is not None else self.line(path)


def read(text: str, source: str) -> list[Document]:
    """Read all documents of a text; the items of a ``List`` count as documents, empty documents do not.

    A key may be there once only.

    Raises:
        NotYaml: with the line.
    """
    try:
        loader = ApiLoader(_without_tabs(text))
    except yaml.reader.ReaderError as error:
        where = text.count("\n", 0, error.position) + 1
        raise NotYaml(f"the character U+{int(error.character):04X} is not allowed", where) from None
    found: list[Document] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _refuse_doubles(node, set())
            document = Document(source, node, loader.construct_document(node))
            if document.data is not None:
                found.extend(_unpacked(document))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(error.problem or str(error), mark.line + 1 if mark else 1) from None
    except RecursionError:
        raise NotYaml("it is nested too deeply", 1) from None
    except (yaml.YAMLError, ValueError) as error:
        raise NotYaml(str(error).splitlines()[0], 1) from None
    finally:
        loader.dispose()
    return found


def _without_tabs(text: str) -> str:
    """Return JSON that is indented with tabs, which YAML does not allow, with blanks in their place."""
    if "\t" not in text or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    # Within texts JSON has no tabs: there they are escapes.
    return text.replace("\t", " ")


def _unpacked(document: Document) -> Iterator[Document]:
    data = document.data
    if isinstance(data, dict) and data.get("kind") == "List" and isinstance(data.get("items"), list):
        found = _child(document.node, "items")
        nodes = found[1].value if found else []
        for node, item in zip(nodes, data["items"], strict=False):
            yield Document(document.source, node, item)
    else:
        yield document


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _child(node: yaml.Node, token: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == token:
                return _line(key), value
    if isinstance(node, yaml.SequenceNode) and token.isdigit() and int(token) < len(node.value):
        child = node.value[int(token)]
        return _line(child), child
    return None


def _refuse_doubles(node: yaml.Node, seen: set[int]) -> None:
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    keys: set[str] = set()
    for entry in node.value:
        if isinstance(node, yaml.MappingNode):
            key, value = entry
            if isinstance(key.value, str) and key.value != "<<":
                if key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key.value!r} is set twice", problem_mark=key.start_mark
                    )
                keys.add(key.value)
            _refuse_doubles(value, seen)
        else:
            _refuse_doubles(entry, seen)
