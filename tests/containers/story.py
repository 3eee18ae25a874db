"""What is done to the installation, inside the engine's network. run.py says what and starts it."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import installation
from clients import Clients
from engine import Engine
from installation import FOLDER, PROJECT, as_admin, compose, crash, scale, shell

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from table import save, show

KILLED = (
    "nginx", "web-1", "web-2", "cpu-worker", "gpu-worker", "state", "cache", "s3", "flower",
    "prometheus", "alertmanager",
)  # fmt: skip
BUILT = FOLDER / "built.json"
"""What run.py has seen of the images: rows of (what, result, why it falls short) and figures."""


class Story:
    """`rows` are for the table; `harm` says what fell short."""

    def __init__(self) -> None:
        self.rows: list[list[object]] = []
        self.harm: list[str] = []
        self.figures: dict[str, float] = {"jobs": 0, "done": 0}

    def check(self, what: str, result: object, reason: str = "") -> None:
        """One row; `reason`: why it falls short."""
        self.rows.append([what, result, f"FELL SHORT: {reason}" if reason else "holds"])
        self.harm += [what] * bool(reason)
        print(*self.rows[-1], sep="; ", flush=True)

    def load(self, clients: Clients, what: str, meanwhile: Callable[[], object]) -> None:
        """Send photos while something is done."""
        began, before = time.monotonic(), clients.statuses.copy()
        ends = clients.ends(meanwhile)
        took_s = time.monotonic() - began
        answers = clients.statuses - before
        wrong = {s: n for s, n in answers.items() if s >= 500 and s != 503}
        self.figures["jobs"] += ends.total()
        self.figures["done"] += ends["done"]
        result = f"{ends['done']} of {ends.total()} done, {answers[503]} x 503, {answers[0]} broken"
        others = {end: n for end, n in ends.items() if end != "done"}
        reason = " ".join(str(bad) for bad in (others, wrong) if bad)
        self.check(what, f"{result}, {took_s:.0f} s", reason)


def tell() -> Story:
    """All of it; what is still there afterwards is removed by run.py."""
    story = Story()
    built = json.loads(BUILT.read_text())
    story.figures |= built["figures"]
    for row in built["rows"]:
        story.check(*row)
    key = _first_cut_out(story)
    for service in KILLED:
        wrong = installation.rights(service)
        story.check(f"rights of {service}", "read-only, no capability", ", ".join(wrong))
    clients = Clients(key)
    first = clients.submit()
    assert clients.end_of(first) == "done"
    before = clients.result_hash(first)
    _page(story, clients)
    for service in KILLED:
        story.load(clients, f"kill -9 of {service}", partial(crash, service))
    story.load(clients, "gpu workers 1 -> 3", lambda: scale(3))
    story.load(clients, "gpu workers 3 -> 1", lambda: scale(1))
    _again(story, clients, first, before)
    return story


def _first_cut_out(story: Story) -> str:
    """What README.md tells a newcomer to type, word by word; returns the API key."""
    _, *before, last = installation.first_commands()
    began = time.monotonic()
    said = shell("\n".join(before), installation.CHECKOUT)
    key = said.partition("API key: ")[2].split()[0]
    shell(last.replace("API_KEY", key), PROJECT)
    picture = (PROJECT / "coffee.png").read_bytes()
    is_png = picture.startswith(b"\x89PNG")
    reason = "" if is_png else f"not a PNG: {picture[:200]!r}"
    took_s = time.monotonic() - began
    story.check("README.md's commands 2 to 5", f"a cut-out after {took_s:.0f} s", reason)
    story.figures["first_cut_out_s"] = round(took_s, 1)
    return key


def _page(story: Story, clients: Clients) -> None:
    status = clients.ask("GET", "/ui/").status_code
    story.check("the page through nginx", status, "" if status == 200 else "no page")
    said = as_admin("pixelmill", "doctor")  # exits with 1 if something is broken
    story.check("pixelmill doctor", said.splitlines()[-1], "a warning" if "\nwarn" in said else "")


def _again(story: Story, clients: Clients, first: str, before: str) -> None:
    """Accounts and results outlive `down` and `up`."""
    compose("down")
    compose("up", "--detach", "--wait")
    same = clients.result_hash(first) == before
    story.check("down, up", "the key is known, the result is the same", "" if same else "another")


def main() -> int:
    """Returns 1 if something fell short."""
    Engine(FOLDER / "engine")  # whose socket `docker` shall use
    installation.prepare()
    began = time.monotonic()
    story = tell()
    story.figures["story_s"] = round(time.monotonic() - began)
    show("compose", ["what", "result", ""], story.rows)
    save("compose", {**story.figures, "fell_short": len(story.harm)})
    return 1 if story.harm else 0


if __name__ == "__main__":
    sys.exit(main())
