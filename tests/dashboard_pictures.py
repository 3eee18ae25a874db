"""make dashboards: docs/screenshots/dashboard-*.webp, the dashboards with real numbers.

There is no Grafana here. A real Prometheus scrapes a real installation under load; every query of
the dashboards' JSON is asked of it, and drawn where the JSON places its panel. Look at each picture
before you commit it.
"""

import html
import io
import itertools
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from dashboards import FOLDER
from PIL import Image
from playwright.sync_api import sync_playwright
from stack import API_KEY, MODEL_PATHS, REPOSITORY, Stack, free_port

PICTURES = REPOSITORY / "docs" / "screenshots"
MODEL = "matting"
MODELS = ("noop", MODEL, "noop", "classify", "noop")
LOAD_S = 240
STEP_S = 5
UNIT_PX, ROW_PX = 54, 34
"""Width of a column and height of a row of Grafana's grid."""
COLOURS = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#5794f2", "#e0b400")
STYLE = """body{margin:0;background:#111217;color:#ccccdc;font:12px sans-serif;width:1310px}
h1{font-size:17px;margin:10px 12px 4px} p{margin:0 12px 8px;color:#8e8e9b} main{position:relative}
section{position:absolute;background:#181b1f;border:1px solid #2c3235;border-radius:3px;
box-sizing:border-box;padding:5px 8px;overflow:hidden} h2{font-size:12px;margin:0 0 2px}
h3{position:absolute;margin:9px 12px;font-size:14px;font-weight:500} .n{font-size:30px;
text-align:center;margin-top:22px} i{font-style:normal;margin-right:9px;white-space:nowrap}
svg{display:block} div{line-height:14px;font-size:11px} text{fill:#8e8e9b;
font-size:10px} .none{text-align:center;margin-top:60px}"""

Series = tuple[str, Sequence[tuple[float, float]]]
"""Legend, and (seconds, value) of each step."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = {"PIXELMILL_MODELS": "matting,classify,noop", "PIXELMILL_MODEL_PATHS": MODEL_PATHS}
        with Stack(Path(folder), env) as stack, _prometheus(stack) as prometheus:
            began = time.time()
            _load(stack)
            for file in sorted(FOLDER.glob("*.json")):
                board = json.loads(file.read_text())
                _save(_page(board, prometheus, began), file.stem.removeprefix("pixelmill-"))


@contextmanager
def _prometheus(stack: Stack) -> Iterator[str]:
    """A Prometheus with the configuration of deploy/monitoring; its address."""
    stack.start_all()
    text = (FOLDER.parent / "prometheus.yml").read_text().replace("127.0.0.1:7860", stack.url[7:])
    (stack.folder / "prometheus.yml").write_text(text)
    shutil.copy(FOLDER.parent / "rules.yml", stack.folder)
    address = f"127.0.0.1:{free_port()}"
    config = f"--config.file={stack.folder / 'prometheus.yml'}"
    data = f"--storage.tsdb.path={stack.folder / 'prometheus'}"
    command = ["prometheus", config, data, f"--web.listen-address={address}"]
    stack.start("prometheus", command)
    stack.wait_for("prometheus", lambda: httpx.get(f"http://{address}/-/ready").is_success)
    yield f"http://{address}"


def _load(stack: Stack) -> None:
    """People who come and go, with a crowd in the middle, and some who send what is no picture."""
    end = time.monotonic() + LOAD_S
    photos = [file.read_bytes() for file in sorted((REPOSITORY / "examples").glob("*.jpg"))]
    numbers = itertools.count()

    def visit(pause: Callable[[float], float]) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {API_KEY}"}, timeout=90) as client:
            while (left_s := end - time.monotonic()) > 0:
                number = next(numbers)
                model = MODELS[number // 3 % len(MODELS)]
                data = photos[number // 3 % 4] + b"%d" % (number // 3)  # every third is known
                query = {"wait": 30, "priority": "batch" if number % 5 == 0 else "interactive"}
                body = b"no picture" if number % 17 == 0 else data
                answer = client.post(
                    f"{stack.url}/api/v1/predict/{model}", params=query, content=body
                )
                for picture in (answer.json().get("result") or {}).get("objects", {}).values():
                    client.get(picture["url"])
                time.sleep(pause(left_s / LOAD_S))

    def is_crowd(left: float) -> bool:
        return 0.35 < left < 0.65

    crowd = [lambda left: 0.2 if is_crowd(left) else 2.5] * 8
    visitors = [threading.Thread(target=visit, args=(pause,)) for pause in crowd]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()


def _page(board: Mapping[str, Any], prometheus: str, began: float) -> str:
    parts = []
    for panel in board["panels"]:
        at = panel["gridPos"]
        x, y, width, height = (
            at["x"] * UNIT_PX + 6,
            at["y"] * ROW_PX,
            at["w"] * UNIT_PX - 8,
            at["h"] * ROW_PX - 8,
        )
        title = html.escape(panel["title"])
        if panel["type"] == "row":
            parts.append(f'<h3 style="top:{y}px">&#9662; {title}</h3>')
            continue
        shown = _series(panel, prometheus, began)
        draw = _number if panel["type"] == "stat" else _chart
        body = draw(panel, shown, width - 16, height - 30)
        place = f"left:{x}px;top:{y}px;width:{width}px;height:{height}px"
        parts.append(f'<section style="{place}"><h2>{title}</h2>{body}</section>')
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    main = f'<main style="height:{bottom * ROW_PX + 8}px">{"".join(parts)}</main>'
    heading = f"<h1>{html.escape(board['title'])}</h1><p>{html.escape(board['description'])}</p>"
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{heading}{main}"


def _series(panel: Mapping[str, Any], prometheus: str, began: float) -> list[Series]:
    found: list[Series] = []
    for target in panel["targets"]:
        query = {
            "query": target["expr"].replace("$model", MODEL),
            "start": str(began),
            "end": str(time.time()),
            "step": str(STEP_S),
        }
        answer = httpx.get(f"{prometheus}/api/v1/query_range", params=query, timeout=30)
        for result in answer.raise_for_status().json()["data"]["result"]:
            legend = target["legendFormat"]
            for name, value in result["metric"].items():
                legend = legend.replace("{{" + name + "}}", value)
            points = [(float(at), float(value)) for at, value in result["values"]]
            found.append((legend, [point for point in points if point[1] == point[1]]))
    return found


def _number(panel: Mapping[str, Any], shown: Sequence[Series], width: int, height: int) -> str:
    points = shown[0][1] if shown else []
    if not points:
        return '<div class="n">no data</div>'
    value, defaults = points[-1][1], panel["fieldConfig"]["defaults"]
    steps = [step for step in defaults["thresholds"]["steps"] if value >= (step["value"] or 0)]
    colour = {"green": COLOURS[0], "red": COLOURS[4]}[steps[-1]["color"]]
    return f'<div class="n" style="color:{colour}">{_text(value, defaults["unit"])}</div>'


def _chart(panel: Mapping[str, Any], shown: Sequence[Series], width: int, height: int) -> str:
    shown = [series for series in shown if series[1]]
    if not shown:
        return '<div class="none">no data</div>'
    is_stacked = "stacking" in panel["fieldConfig"]["defaults"].get("custom", {})
    lines = _stacked(shown) if is_stacked else shown
    times = [at for _, points in lines for at, _ in points]
    top = max([value for _, points in lines for _, value in points] + [0])
    top = (top or 1) * 1.1
    first, last = min(times), max(max(times), min(times) + 1)
    plot_height, left = height - 48, 52

    def xy(at: float, value: float) -> str:
        x = left + (at - first) / (last - first) * (width - left - 4)
        return f"{x:.1f},{plot_height - value / top * (plot_height - 8):.1f}"

    unit = panel["fieldConfig"]["defaults"]["unit"]
    marks = []
    for share in (0, 0.5, 1):
        y = plot_height - share / 1.1 * (plot_height - 8)
        marks.append(f'<path d="M{left},{y:.1f}H{width}" stroke="#2c3235"/>')
        label = _text(top / 1.1 * share, unit)
        marks.append(f'<text x="{left - 5}" y="{y + 3:.1f}" text-anchor="end">{label}</text>')
    legend = []
    for (name, points), colour in zip(lines, itertools.cycle(COLOURS), strict=False):
        path = " ".join(xy(at, value) for at, value in points)
        marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        legend.append(f'<i><b style="color:{colour}">&#9473;</b> {html.escape(name)}</i>')
    clock = (
        time.strftime("%H:%M:%S", time.gmtime(first)),
        time.strftime("%H:%M:%S", time.gmtime(last)),
    )
    marks.append(f'<text x="{left}" y="{plot_height + 13}">{clock[0]}</text>')
    marks.append(f'<text x="{width}" y="{plot_height + 13}" text-anchor="end">{clock[1]}</text>')
    svg = f'<svg width="{width}" height="{plot_height + 16}">{"".join(marks)}</svg>'
    return f"{svg}<div>{' '.join(legend)}</div>"


def _stacked(shown: Sequence[Series]) -> list[Series]:
    """Each series on top of those before it."""
    below: dict[float, float] = {}
    lines: list[Series] = []
    for name, points in shown:
        for at, value in points:
            below[at] = below.get(at, 0.0) + value
        lines.append((name, [(at, below[at]) for at, _ in points]))
    return lines


def _text(value: float, unit: str) -> str:
    """A value as Grafana would write it."""
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit in ("bytes", "Bps"):
        scale = next((n for n in range(4, 0, -1) if value >= 1024**n), 0)
        return f"{value / 1024**scale:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[scale]}" + (
            "/s" if unit == "Bps" else ""
        )
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g}" + {"s": " s", "reqps": "/s", "celsius": " °C"}.get(unit, "")


def _save(page: str, name: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1310, "height": 600})
        tab.set_content(page)
        png = tab.screenshot(full_page=True)
        browser.close()
    Image.open(io.BytesIO(png)).save(PICTURES / f"dashboard-{name}.webp", quality=70, method=6)
    if len(sys.argv) > 1:
        (Path(sys.argv[1]) / f"{name}.png").write_bytes(png)


if __name__ == "__main__":
    main()
