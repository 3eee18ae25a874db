"""What more gpu hosts bring, and the CPU that each part of the installation takes for an image.

Devices are simulated, so slow that eight of them leave this machine's cores half idle. From CPU per
image follows what a day of photos asks of each part.
"""

import asyncio
import io
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
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
BATCHES = 10
"""Full batches of each device in a row of the table."""
WAITING = 2
"""Images that clients keep under way for each device, in full batches."""
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
        figures |= _named("photo", _measure(hosts, "matting", photos, 4))
        for count in HOSTS:
            _join(hosts, count)
            images = [picture(count * 10_000 + n, "") for n in range(count * BATCHES * BATCH)]
            row = _measure(hosts, "simulated", images, count * WAITING * BATCH)
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


def _join(hosts: Installation, count: int) -> None:
    names = [f"gpu{number}" for number in range(1, count + 1)]
    for name in names:
        if name not in hosts.processes:
            hosts.start_worker(name)
    hosts.wait_for_workers(*names)


def _measure(hosts: Installation, model: str, bodies: Sequence[bytes], clients: int) -> Figures:
    """Images/s, share of all cores in use, and CPU ms per image of each part above its idle."""
    began = {part: hosts.cpu_s(part) for part in PARTS}
    time.sleep(IDLE_S)
    before = {part: hosts.cpu_s(part) for part in PARTS}
    sent = _carried(hosts)
    psutil.cpu_percent()
    seconds = asyncio.run(_send(hosts.url, model, list(bodies), clients))
    busy = psutil.cpu_percent() / 100
    spent = {}
    for part in PARTS:
        idle = (before[part] - began[part]) / IDLE_S * seconds  # heartbeats and the like
        spent_s = hosts.cpu_s(part) - before[part] - idle
        spent[f"{part}_ms"] = max(spent_s, 0) * 1000 / len(bodies)
    mib = (_carried(hosts) - sent) / len(bodies) / 2**20
    return {"images_per_s": len(bodies) / seconds, "cores_busy": busy, "scratch_mib": mib, **spent}


def _carried(hosts: Installation) -> int:
    """Bytes that the scratch Redis has taken and given."""
    info = hosts.client("scratch").info("stats")
    return int(info["total_net_input_bytes"]) + int(info["total_net_output_bytes"])


async def _send(url: str, model: str, bodies: list[bytes], clients: int) -> float:
    """Seconds until all of these have their results, `clients` at a time."""
    address = f"{url}/api/v1/predict/{model}?wait=300"
    headers = {"Authorization": f"Bearer {next(iter(OWNERS))}"}
    limits = httpx.Limits(max_connections=None)
    numbers = iter(range(len(bodies)))

    async def client(http: httpx.AsyncClient) -> None:
        for number in numbers:
            salt = f"&salt={number}" if model == "simulated" else ""
            url = address + salt
            answer = await http.post(url, content=bodies[number], headers=headers)
            while answer.status_code == 429:  # more at once than a web process takes
                await asyncio.sleep(1)
                answer = await http.post(url, content=bodies[number], headers=headers)
            answer.raise_for_status()

    async with AsyncExitStack() as ends:
        options: dict[str, Any] = {"limits": limits, "timeout": httpx.Timeout(320)}
        pools = [
            await ends.enter_async_context(httpx.AsyncClient(verify=False, **options))
            for _ in range(0, clients, OF_A_POOL)
        ]
        began = time.monotonic()
        await asyncio.gather(*(client(pools[number // OF_A_POOL]) for number in range(clients)))
        return time.monotonic() - began


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
