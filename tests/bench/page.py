"""make bench-page: the page on a mobile network beside a stock Gradio app, and a batch of photos.

Both are asked by a real Chromium through a proxy that is as slow as a 4G network (12 Mbit/s, 85 ms,
tests/shaper.py), in turns, for the same photo of 12 megapixels, and both have a model that takes
0.25 s. The batch has no such proxy: there, the browser itself is what is measured.
"""

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from options import parser, setting
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "browser"))
import httpx
from actions import tasks_ms
from shaper import Shaper
from stack import MODEL_PATHS, Stack, free_port

ROUNDS = setting("ROUNDS", 3, "visits of each page, in turns")
PHOTOS = setting("PHOTOS", 200, "photos of the batch; 0: no batch")
SAMPLE = 10
"""Photos that are downloaded one by one, to know what that takes."""
MEGA = 2**20
PATIENCE_MS = 600_000
Run = tuple[float, float, float]
"""Of a photo: seconds until it is usable and until its result is drawn, KB sent."""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    parser(__doc__).parse_args()
    env = {"PIXELMILL_MODELS": "delay", "PIXELMILL_MODEL_PATHS": MODEL_PATHS}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), env) as stack:
        stack.start_all()
        photo = Path(folder) / "photo.jpg"
        photo.write_bytes(_photo(4032, 3024, seed=0))
        stock = _start_stock(stack)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=ARGUMENTS
            )
            figures = _network(browser, stack.ports["web"], stock, photo)
            if PHOTOS:
                figures |= _batch(browser, stack.url, Path(folder))
            browser.close()
    _verdicts(figures)
    save("page", figures)


def _network(browser: Browser, ours: int, stock: int, photo: Path) -> dict[str, float]:
    """Seconds and KB of each contestant on the slow network: medians of ROUNDS."""
    contestants: dict[str, tuple[int, Callable[[Page, Shaper, Path], dict[str, float]]]] = {
        "ours": (ours, _ours),
        "stock": (stock, _stock),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, (port, visit) in contestants.items():
            with Shaper(port) as shaper, _new_page(browser) as page:
                found[name].append(visit(page, shaper, photo))
    figures: dict[str, float] = {}
    for name, rounds in found.items():
        for figure in rounds[0]:
            figures[f"{name}_{figure}"] = round(median(each[figure] for each in rounds), 3)
    heads = ["", "cold page s", "KB", "upload usable s", "result drawn s", "KB sent",
             "again s", "KB sent"]  # fmt: skip
    columns = ["open_s", "open_kb", "usable_s", "drawn_s", "sent_kb", "again_s", "again_sent_kb"]
    rows = [[name, *(figures[f"{name}_{column}"] for column in columns)] for name in contestants]
    show(f"a {photo.stat().st_size / 1e6:.1f} MB photo at 12 Mbit/s, 85 ms", heads, rows)
    return figures


def _ours(page: Page, shaper: Shaper, photo: Path) -> dict[str, float]:
    began_s = time.monotonic()
    page.goto(f"http://127.0.0.1:{shaper.port}/ui/")
    page.wait_for_selector(".pm-chooser >> text=Delay")
    open_s = time.monotonic() - began_s
    page.wait_for_timeout(2000)
    open_kb = shaper.down.bytes / 1000
    page.evaluate(_WATCH)

    def run() -> Run:
        sent = shaper.up.bytes
        page.evaluate("window.seen = {}; window.began = performance.now()")
        page.set_input_files(".drop input", str(photo))
        page.wait_for_function("window.seen.drawn")
        seen = page.evaluate("window.seen")
        return seen.get("usable", 0) / 1000, seen["drawn"] / 1000, (shaper.up.bytes - sent) / 1000

    first = run()
    page.wait_for_timeout(1000)
    return _figures(open_s, open_kb, first, run())


_WATCH = """() => {
  const STORED = ["queued", "waiting", "preprocessing", "inferring", "postprocessing", "done"];
  const note = () => {
    const now = performance.now() - window.began;
    const phase = document.querySelector(".bench")?.dataset.phase;
    if (STORED.includes(phase)) window.seen.usable ??= now;
    const items = document.querySelectorAll(".strip li").length;
    const isDrawn = phase === "done" && document.querySelector(".viewer[data-drawn]");
    if (isDrawn && items > (window.items ?? 0)) {
      window.seen.drawn ??= now;
      window.items = items;
    }
  };
  const all = { subtree: true, childList: true, attributes: true };
  new MutationObserver(note).observe(document.body, all);
}"""
"""Notes in `window.seen` when the upload is stored and when the result is drawn."""


def _stock(page: Page, shaper: Shaper, photo: Path) -> dict[str, float]:
    began_s = time.monotonic()
    page.goto(f"http://127.0.0.1:{shaper.port}/")
    page.wait_for_selector("input[type=file]", state="attached")
    open_s = time.monotonic() - began_s
    page.wait_for_timeout(2000)
    open_kb = shaper.down.bytes / 1000

    def run() -> Run:
        sent, began_s = shaper.up.bytes, time.monotonic()
        page.set_input_files("input[type=file]", str(photo))
        page.wait_for_function(_LOADED, arg=1)
        usable_s = time.monotonic() - began_s
        page.get_by_role("button", name="Submit").click()
        page.wait_for_function(_LOADED, arg=2)
        return usable_s, time.monotonic() - began_s, (shaper.up.bytes - sent) / 1000

    first = run()
    page.get_by_role("button", name="Clear", exact=True).last.click()
    page.wait_for_selector("input[type=file]", state="attached")
    page.wait_for_timeout(500)
    return _figures(open_s, open_kb, first, run())


def _figures(open_s: float, open_kb: float, first: Run, again: Run) -> dict[str, float]:
    (usable_s, drawn_s, sent_kb), (_, again_s, again_kb) = first, again
    return {
        "open_s": open_s, "open_kb": open_kb, "usable_s": usable_s, "drawn_s": drawn_s,
        "sent_kb": sent_kb, "again_s": again_s, "again_sent_kb": again_kb,
    }  # fmt: skip


_LOADED = """(count) => [...document.querySelectorAll("img")]
  .filter(({ src, complete, naturalWidth }) => src.includes("/file=") && complete && naturalWidth)
  .length >= count"""
"""Whether Gradio shows so many pictures that it has loaded back from its server."""


def _batch(browser: Browser, url: str, folder: Path) -> dict[str, float]:
    """What many photos at a time do to the browser, and how long their archive takes."""
    files = [folder / f"photo-{number}.jpg" for number in range(PHOTOS)]
    for number, file in enumerate(files):
        file.write_bytes(_photo(1600, 1200, seed=number))
    with _new_page(browser) as page:
        page.goto(f"{url}/ui/")
        page.wait_for_selector(".pm-chooser >> text=Delay")
        before_mb = _memory_mb()
        with tasks_ms(page) as tasks:
            began_s = time.monotonic()
            page.set_input_files(".drop input", [str(file) for file in files])
            done = f"document.querySelectorAll('.strip [data-phase=done]').length >= {PHOTOS}"
            page.wait_for_function(done)
            batch_s = time.monotonic() - began_s
        batch_mb = _memory_mb()
        single_s = _singles(page, folder) / SAMPLE * PHOTOS
        with tasks_ms(page) as zip_tasks:
            began_s = time.monotonic()
            with page.expect_download(timeout=PATIENCE_MS) as waiting:
                page.get_by_role("button", name="Download all").click()
            waiting.value.save_as(folder / "all.zip")
            zip_s = time.monotonic() - began_s
        zip_mb = _memory_mb()
    size = (folder / "all.zip").stat().st_size / MEGA
    print(f"{PHOTOS} photos done in {batch_s:.0f} s; zip of {size:.0f} MiB in {zip_s:.0f} s")
    return {
        "batch_longest_task_ms": round(max(tasks), 1),
        "zip_longest_task_ms": round(max(zip_tasks), 1),
        "batch_s": round(batch_s, 1),
        "zip_s": round(zip_s, 1),
        "zip_mib": round(size, 1),
        "singles_s": round(single_s, 1),
        "zip_by_singles": round(zip_s / single_s, 2),
        "browser_mib_before": round(before_mb),
        "browser_mib_after_batch": round(batch_mb),
        "browser_mib_after_zip": round(zip_mb),
    }


def _singles(page: Page, folder: Path) -> float:
    """Seconds to download SAMPLE results one by one."""
    seconds = 0.0
    for number in range(SAMPLE):
        page.locator(".strip .pick").nth(number).click()
        page.wait_for_selector(".viewer[data-drawn]")
        began_s = time.monotonic()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download PNG", exact=True).click()
        waiting.value.save_as(folder / "one.png")
        seconds += time.monotonic() - began_s
    return seconds


@contextmanager
def _new_page(browser: Browser) -> Iterator[Page]:
    """A page of a new visitor, whose cache is empty."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def _memory_mb() -> float:
    """MiB of all processes of the browser, without what they share."""
    own = psutil.Process()
    chromium = [p for p in own.children(recursive=True) if "chrom" in p.name()]
    return sum(process.memory_full_info().uss for process in chromium) / MEGA


def _photo(width: int, height: int, *, seed: int) -> bytes:
    """A JPEG with the detail of a photo: an example, enlarged, with noise."""
    examples = Path(__file__).parent.parent.parent / "examples"
    with Image.open(examples / "astronaut.jpg") as example:
        large = np.asarray(example.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed).normal(0, 8, large.shape)
    data = io.BytesIO()
    Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=91)
    return data.getvalue()


def _start_stock(stack: Stack) -> int:
    """Port of the stock Gradio app."""
    port = free_port()
    env = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).parent / "stock.py"
    stack.start("stock", [sys.executable, str(script), str(port)], env)
    stack.wait_for("stock", lambda: httpx.get(f"http://127.0.0.1:{port}/config").is_success)
    return port


def _verdicts(figures: dict[str, float]) -> None:
    print()
    verdict("upload usable, s", figures["ours_usable_s"], 1.5)
    times = figures["stock_usable_s"] / figures["ours_usable_s"]
    verdict("upload usable, times faster than stock", round(times, 2), 3, at_most=False)
    times = figures["stock_drawn_s"] / figures["ours_drawn_s"]
    verdict("result drawn, times faster than stock", round(times, 2), 3, at_most=False)
    verdict("the same photo again, s", figures["ours_again_s"], 0.25)
    verdict("the same photo again, KB sent (requests alone)", figures["ours_again_sent_kb"], 10)
    verdict("cold page, KB", figures["ours_open_kb"], 300)
    if PHOTOS:
        longest = max(figures["batch_longest_task_ms"], figures["zip_longest_task_ms"])
        verdict(f"{PHOTOS} photos: longest task of the main thread, ms CPU", longest, 200)
        verdict("zip, times the downloads one by one", figures["zip_by_singles"], 1.5)


if __name__ == "__main__":
    main()
