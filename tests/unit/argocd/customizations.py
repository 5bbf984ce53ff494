"""Argo CD's resource customizations as it runs them: Lua 5.1 with few libraries, and JSON between."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from lupa import lua51

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDER: Final = ROOT / "manifests/argocd/resource_customizations/kubernaut.io"
# What Argo CD does not open: scripts in argocd-cm get neither strings nor mathematics, nor the outside.
_CLOSED: Final = ("string", "math", "io", "debug", "coroutine", "dofile", "loadfile", "package", "require")


def stored(kind: str) -> list[Path]:
    """Return the objects that are stored for a kind."""
    return sorted((FOLDER / kind / "testdata").glob("*.yaml"))


def run(script: str, obj: Any) -> Any:
    """Run a script on an object; return what it returns, as JSON would have it.

    Raises:
        lua51.LuaError: the script failed, for instance because it used a library that Argo CD does not open.
    """
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute(f"local names = {' '.join(_CLOSED)!r} for name in names:gmatch('%a+') do _G[name] = nil end")
    lua.execute("getmetatable('').__index = nil os = { time = os.time, date = os.date }")
    lua.globals().obj = _to_lua(lua, obj)
    return _from_lua(lua.execute(script))


def _to_lua(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _to_lua(lua, part) for key, part in value.items() if part is not None})
    if isinstance(value, list):
        return lua.table_from([_to_lua(lua, part) for part in value])
    return value


def _from_lua(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return value
    items = list(value.items())
    if [key for key, _ in items] == list(range(1, len(items) + 1)):
        # An empty table too: nothing tells what it was.
        return [_from_lua(part) for _, part in items]
    return {key: _from_lua(part) for key, part in items}


def kept(new: Any, old: Any) -> Any:
    """Return what an action made of an object, with objects that became empty lists put back, as Argo CD does."""
    if isinstance(new, list) and not new and isinstance(old, dict):
        return old
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: kept(part, old.get(key)) for key, part in new.items()}
    if isinstance(new, list) and isinstance(old, list):
        return [kept(part, former) for part, former in _pairs(new, old)]
    return new


def _pairs(new: list[Any], old: list[Any]) -> Iterable[tuple[Any, Any]]:
    assert len(new) <= len(old), "Argo CD fails where a list that was there grows"
    return zip(new, old, strict=False)
