"""Objects that a run looks at: its target, and what its steps wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kubernaut.core import versions
from kubernaut.core.ports import Manifest
from kubernaut.core.run import Seen, Watched


def newer(manifest: Manifest, than: str) -> bool:
    """Whether an object as read is newer than a resource version."""
    return versions.newer(manifest["metadata"]["resourceVersion"], than)


@dataclass(slots=True)
class View:
    """One object as seen since the run's last act.

    Attributes:
        seen: None where it must be read again.
        blind: nothing was read since the last act, so what a watch brings may be older than that.
        unwatch: ends the watch, where there is one.
        unread: why it could not be read; empty where it was, or nobody tried.
    """

    seen: Seen | None = None
    version: str = ""
    blind: bool = True
    unwatch: Callable[[], None] | None = None
    unread: str = ""

    def look_away(self) -> None:
        """Forget the object: it must be read again."""
        self.seen = None
        self.blind = True

    def look_at(self, manifest: Manifest | None) -> None:
        """Take note of the object as just read."""
        self.blind = False
        self.unread = ""
        self.seen = Seen(manifest)
        if manifest is not None:
            self.version = manifest["metadata"]["resourceVersion"]

    def watched(self, manifest: Manifest | None) -> None:
        """Take note of the object as a watch brought it; an older view than the last one changes nothing."""
        if self.blind or (manifest is not None and not newer(manifest, self.version)):
            return
        self.look_at(manifest)

    def forget_watch(self) -> None:
        """Stop watching."""
        if self.unwatch is not None:
            self.unwatch()
            self.unwatch = None


class Views:
    """The objects that a run looks at."""

    def __init__(self) -> None:
        self._views: dict[Watched, View] = {}

    def of(self, key: Watched) -> View:
        """Return the view of an object."""
        return self._views.setdefault(key, View())

    def seen(self, key: Watched) -> Seen | None:
        """Return an object as seen, or None where it must be read."""
        view = self._views.get(key)
        return view.seen if view is not None else None

    def all_seen(self) -> dict[Watched, Seen]:
        """Return what was seen since the last act."""
        return {key: view.seen for key, view in self._views.items() if view.seen is not None}

    def all_unread(self) -> dict[Watched, str]:
        """Return why objects could not be read."""
        return {key: view.unread for key, view in self._views.items() if view.unread}

    def look_away(self) -> None:
        """Forget everything: after an act, all must be read again."""
        for view in self._views.values():
            view.look_away()

    def look_away_unwatched(self) -> None:
        """Forget what nothing would bring anew."""
        for view in self._views.values():
            if view.unwatch is None:
                view.look_away()

    def keep_only(self, keys: Iterable[Watched]) -> None:
        """Stop watching all but these."""
        wanted = frozenset(keys)
        for key, view in list(self._views.items()):
            if key not in wanted:
                view.forget_watch()
                del self._views[key]
