"""``python hack/demo`` runs the demo; ``python hack/demo down`` takes everything away."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from demo import story, world  # noqa: E402
from demo.narrator import Narrator, NotSeen  # noqa: E402


def scenarios(narrator: Narrator) -> int:
    """Heal every kind of fault, write figures to build/scenarios/, and leave nothing behind."""
    try:
        world.down()
        here = story.set_up(narrator)
        story.start_operator(narrator, here)
        report = story.figures(story.repair_many(narrator, here))
        path = world.ROOT / "build" / "scenarios" / "faults.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")
        narrator.say(f"figures: {path.relative_to(world.ROOT)}")
    except NotSeen as error:
        narrator.console.print(f"\n[bold red]Not seen:[/] {error}")
        return 1
    finally:
        world.down()
    return 0


def main() -> int:
    """Run the demo; 0 only if all of it was seen."""
    if sys.argv[1:] == ["down"]:
        world.down()
        print("demo: nothing is left of it")
        return 0
    narrator = Narrator()
    if sys.argv[1:] == ["scenarios"]:
        return scenarios(narrator)
    narrator.console.print("[bold]Kubernaut: from a crash-looping Deployment to a DiscoveredPattern[/]")
    if world.leftovers():
        with narrator.working("taking an earlier demo away first"):
            world.down()
    try:
        here = story.set_up(narrator)
        story.start_operator(narrator, here)
        story.repair_one(narrator, here)
        runs = story.repair_many(narrator, here)
        story.look_at_history(narrator, here, len(runs) + 1)
        story.look_at_patterns(narrator, here, len(runs) + 1)
        story.look_by_hand(narrator, here)
    except NotSeen as error:
        narrator.console.print(f"\n[bold red]Not seen:[/] {error}", markup=True)
        narrator.console.print("Logs: " + str(world.folder()), style="dim")
        return 1
    narrator.console.print(
        f"\n[bold green]Seen: all {len(narrator.seen)} things, in {narrator.elapsed:.0f} s.[/] "
        "Everything is still up; `make demo-down` takes it away."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
