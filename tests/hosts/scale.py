"""What more gpu hosts bring, and the CPU that each part of the installation takes for an image.

Devices are simulated, so slow that eight of them leave this machine's cores half idle. From CPU per
image follows what a day of photos asks of each part.
"""

import asyncio
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from crowd import picture
from installation import OWNERS, REPOSITORY, Installation
from network import Network
from PIL import Image
from table import save, show, verdict

A_MS, B_MS, BATCH = 800.0, 200.0, 16
RAW = 1000 * BATCH / (A_MS + B_MS * BATCH)
"""Images per second of one device, on paper."""
HOSTS = (1, 2, 4, 8)
FULL_S = (A_MS + B_MS * BATCH) / 1000
RAMP_S, WINDOW_S = 4 * FULL_S, 12 * FULL_S
"""Clients work for so long before answers are counted, and while they are."""
WAITING = 3
"""Images that clients keep under way for each device, in full batches: one is computed, one waits
for the device, and one is on its way from an answer to the next request."""
PHOTOS = 24
OF_A_POOL = 16
"""Clients that share a pool of connections: httpx looks at all of a pool for each request."""
IDLE_S = 10.0
"""In this time before a row, it is seen what each part takes when there is nothing to do."""
PARTS = ("lb", "web", "state", "scratch", "cache", "s3", "cpu", "gpu")
NAMES = {"lb": "nginx", "web": "web processes", "state": "state Redis", "scratch": "scratch Redis",
         "cache": "cache Redis", "s3": "S3 (rclone)", "cpu": "cpu workers",
         "gpu": "gpu workers"}  # fmt: skip
BY_MESSAGE = ("state", "cache", "gpu")
"""What a photo costs these does not depend on its size, but on how many come in one message: theirs
is the busiest row. All others are asked about photos."""
DOC = REPOSITORY / "docs" / "scale.md"
DAY, PEAK, GPUS, PER_GPU = 10_000_000, 3, 100, 10
FULL = 0.7
"""Share of a core above which a part is better doubled."""

Figures = dict[str, float]


def measure(folder: Path, *, write: bool) -> int:
    """Measure, print both tables; with `write`, put them into docs/scale.md."""
    env = {
        "PIXELMILL_MODELS": "simulated,matting",
        "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "models"),
        "PIXELMILL_MAX_WAIT_INTERACTIVE_S": "1000",
        "SIMULATED": f"a={A_MS} b={B_MS}",
    }
    figures: Figures = {"raw_images_per_s": RAW}
    with Network() as network, Installation(network, folder, 2, env) as hosts:
        hosts.start_all(["cpu1", "gpu1"])
        photos = [_photo(number) for number in range(PHOTOS)]
        figures |= _named("photo", _measure(hosts, Load(hosts.url, "matting", photos, 4), 0))
        for count in HOSTS:
            _join(hosts, count)
            row = _measure(hosts, _simulated(hosts, count), WINDOW_S)
            row["efficiency"] = row["images_per_s"] / (count * RAW)
            figures |= _named(f"hosts_{count}", row)
    tables = [_growth(figures), _need(figures)]
    save("hosts-scale", {name: round(value, 3) for name, value in figures.items()})
    for title, header, rows in tables:
        show(title, header, rows)
    last = HOSTS[-1]
    share = figures[f"hosts_{last}_efficiency"]
    verdict(f"images/s of {last} hosts, times {last} of one alone", share, 0.95, at_most=False)
    if write:
        _write(tables)
    return 0


def _named(prefix: str, row: Mapping[str, float]) -> Figures:
    return {f"{prefix}_{name}": value for name, value in row.items()}


def _photo(number: int) -> bytes:
    """A JPEG of 12 megapixels, of a phone's size in bytes; none is like another."""
    with Image.open(REPOSITORY / "examples" / "astronaut.jpg") as small:
        large = small.convert("RGB").resize((4000, 3000))
    large.putpixel((0, 0), (number, number, number))
    file = io.BytesIO()
    large.save(file, "JPEG", quality=92)
    return file.getvalue()


def _simulated(hosts: Installation, count: int) -> "Load":
    """Work for so many simulated devices, of more images than they can compute meanwhile."""
    most = int(count * RAW * (RAMP_S + WINDOW_S + (WAITING + 2) * FULL_S))
    images = [picture(count * 10_000 + number, "") for number in range(most)]
    return Load(hosts.url, "simulated", images, count * WAITING * BATCH)


def _join(hosts: Installation, count: int) -> None:
    names = [f"gpu{number}" for number in range(1, count + 1)]
    for name in names:
        if name not in hosts.processes:
            hosts.start_worker(name)
    hosts.wait_for_workers(*names)


def _measure(hosts: Installation, load: "Load", seconds: float) -> Figures:
    """Images/s, share of all cores in use, and CPU ms per image of each part above its idle: of
    all images where there are so few that they are answered sooner."""
    began = {part: hosts.cpu_s(part) for part in PARTS}
    time.sleep(IDLE_S)
    idle = {part: (hosts.cpu_s(part) - began[part]) / IDLE_S for part in PARTS}  # heartbeats etc.
    before, after, cores = asyncio.run(load.measured(lambda: Sample.of(hosts, load), seconds))
    count, lasted = after.answered - before.answered, after.at - before.at
    spent = {
        f"{part}_ms": max(after.cpu_s[part] - before.cpu_s[part] - idle[part] * lasted, 0)
        * 1000
        / count
        for part in PARTS
    }
    mib = (after.carried - before.carried) / count / 2**20
    rate = load.rate(before.at, after.at) if seconds else count / lasted
    return {"images_per_s": rate, "cores_busy": cores, "scratch_mib": mib, **spent}


@dataclass(frozen=True)
class Sample:
    """What had come of the work at one time."""

    at: float
    answered: int
    cpu_s: Mapping[str, float]
    carried: int
    """Bytes that the scratch Redis has taken and given."""

    @classmethod
    def of(cls, hosts: Installation, load: "Load") -> "Sample":
        info = hosts.client("scratch").info("stats")
        carried = int(info["total_net_input_bytes"]) + int(info["total_net_output_bytes"])
        spent = {part: hosts.cpu_s(part) for part in PARTS}
        return cls(time.monotonic(), load.answered, spent, carried)


@dataclass
class Load:
    """So many clients, each of which sends an image when its last one is answered."""

    url: str
    model: str
    bodies: Sequence[bytes]
    clients: int
    ends: bool = False
    answers_at: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return len(self.answers_at)

    def rate(self, begin: float, end: float) -> float:
        """Images/s between these times: the slope of a line through the answers, since devices
        answer whole batches, and a time may begin and end amid one."""
        times = [at for at in self.answers_at if begin <= at <= end]
        return float(np.polyfit(times, range(len(times)), 1)[0])

    async def measured(
        self, sample: Callable[[], Sample], seconds: float
    ) -> tuple[Sample, Sample, float]:
        """What was true when measuring began and ended, and the share of cores in use meanwhile.

        Without `seconds`, that of all images.
        """
        work = asyncio.create_task(self._work())
        if seconds:
            await asyncio.sleep(RAMP_S)
        before = sample()
        psutil.cpu_percent()
        if seconds:
            await asyncio.sleep(seconds)
            if work.done():
                raise RuntimeError("there were not enough images")
        else:
            await work
        after, cores = sample(), psutil.cpu_percent() / 100
        self.ends = True
        await work
        return before, after, cores

    async def _work(self) -> None:
        limits, numbers = httpx.Limits(max_connections=None), iter(range(len(self.bodies)))
        options: dict[str, Any] = {"limits": limits, "timeout": httpx.Timeout(320)}
        async with AsyncExitStack() as ends:
            pools = [
                await ends.enter_async_context(httpx.AsyncClient(verify=False, **options))
                for _ in range(0, self.clients, OF_A_POOL)
            ]
            clients = [self._client(pools[n // OF_A_POOL], numbers) for n in range(self.clients)]
            await asyncio.gather(*clients)

    async def _client(self, http: httpx.AsyncClient, numbers: Iterator[int]) -> None:
        address = f"{self.url}/api/v1/predict/{self.model}?wait=300"
        headers = {"Authorization": f"Bearer {next(iter(OWNERS))}"}
        for number in numbers:
            if self.ends:
                return
            url = address + (f"&salt={number}" if self.model == "simulated" else "")
            answer = await http.post(url, content=self.bodies[number], headers=headers)
            while answer.status_code == 429:  # more at once than a web process takes
                await asyncio.sleep(1)
                answer = await http.post(url, content=self.bodies[number], headers=headers)
            answer.raise_for_status()
            self.answers_at.append(time.monotonic())


Table = tuple[str, list[str], list[list[str]]]


def _growth(figures: Figures) -> Table:
    header = ["gpu hosts", "images/s", "of that many alone", "cores in use", "MiB of arrays",
              *NAMES.values()]  # fmt: skip
    rows = []
    for name, label in [(f"hosts_{count}", str(count)) for count in HOSTS] + [
        ("photo", "1, photos of 12 megapixels")
    ]:
        share = figures.get(f"{name}_efficiency")
        rows.append(
            [label, f"{figures[f'{name}_images_per_s']:.1f}",
             f"{share * 100:.0f} %" if share else "",
             f"{figures[f'{name}_cores_busy'] * 100:.0f} %",
             f"{figures[f'{name}_scratch_mib']:.2f}",
             *(f"{figures[f'{name}_{part}_ms']:.2f}" for part in PARTS)]
        )  # fmt: skip
    title = f"A device of {A_MS:g} + {B_MS:g}n ms does {RAW:g} images/s; CPU in ms an image"
    return title, header, rows


def _need(figures: Figures) -> Table:
    """Cores of each part, by the CPU of a photo; what has one process alone says how full it is."""
    rates = {"mean": DAY / 86_400, "peak": PEAK * DAY / 86_400, "gpus": GPUS * PER_GPU}
    header = ["part", "CPU ms a photo", "cores: mean of the day", f"{PEAK} times that",
              f"{GPUS} GPUs of {PER_GPU} photos/s", "at the peak"]  # fmt: skip
    rows = []
    for part in PARTS:
        row = f"hosts_{HOSTS[-1]}" if part in BY_MESSAGE else "photo"
        ms = figures[f"{row}_{part}_ms"]
        cores = {name: rate * ms / 1000 for name, rate in rates.items()}
        rows.append([NAMES[part], f"{ms:.2f}", *(f"{value:.2f}" for value in cores.values()),
                     _advice(part, cores["peak"])])  # fmt: skip
    return f"{DAY:,} photos a day".replace(",", " "), header, rows


def _advice(part: str, cores: float) -> str:
    if part in ("state", "scratch", "cache"):
        return f"its one thread is {cores * 100:.0f} % full"
    if part == "web":
        return f"{max(2, round(cores / FULL + 0.5))} processes"
    return f"{max(1, round(cores / FULL + 0.5))} cores"


def _write(tables: Sequence[Table]) -> None:
    text = DOC.read_text()
    for number, table in enumerate(tables, 1):
        block = f"<!-- table {number} -->\n\n{_markdown(table)}\n\n<!-- end -->"
        text = re.sub(rf"<!-- table {number} -->.*?<!-- end -->", block, text, flags=re.S)
    DOC.write_text(text)


def _markdown(table: Table) -> str:
    title, header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return f"{title}:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
