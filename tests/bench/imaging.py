"""`make bench-imaging`: the usual way of web articles against ours, in one run, in one table.

Every row runs in a process of its own that is forked from one warm parent; CPU time counts its
children. The lowest of the repeats is shown: other work on the machine only ever adds. What we
decode is not the first photo of its process (`first`), as of a worker's.
"""

import argparse
import io
import json
import os
import resource
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from PIL import Image
from table import save as save_figures
from table import show, verdict

from tasks.imaging import alpha, codec, decoder, edge_colours, encode, guard, sandbox
from tasks.imaging import helper as fork_helper
from workers import environment

SIDES = (1024, 2048)
LATER = 4
"""Photos of a process after its first."""
Figures = dict[str, float]


def photo(width: int, height: int) -> Image.Image:
    """Light and texture at every size, weaker the finer (1/f), as in photographs."""
    rng = np.random.default_rng(11)
    picture = np.full((height, width, 3), 120, np.float32)
    cell = max(width, height) // 2
    while cell >= 1:
        grain = rng.normal(0, 1, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        layer = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
        picture += layer * (28 * (cell / max(width, height)) ** 0.5 + 2.4)
        cell //= 2
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def matte(height: int, width: int) -> np.ndarray:
    """A soft-edged figure over a quarter of the picture, float32 0..1."""
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 5, height * 2 // 5), 0, 0, 360, 1, -1)
    return cv2.GaussianBlur(mask, (0, 0), max(1, width / 400))


def measure(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """(CPU ms, MB above what the process had), each the lowest of the repeats."""
    runs = [_measure_once(work) for _ in range(repeats)]
    return min(cpu for cpu, _ in runs), min(memory for _, memory in runs)


def measure_later(work: Callable[[], Any], first_cpu_ms: float, repeats: int) -> float:
    """CPU ms of a photo after the first of its process, for which shared memory is new."""
    several = measure(lambda: [work() for _ in range(1 + LATER)], repeats)[0]
    return (several - first_cpu_ms) / LATER


def _measure_once(work: Callable[[], Any]) -> tuple[float, float]:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, json.dumps(_measure_here(work)).encode())
        os._exit(0)
    os.close(writer)
    cpu_ms, peak_mb = json.loads(os.read(reader, 1000))
    os.close(reader)
    os.waitpid(child, 0)
    return cpu_ms, peak_mb


def _measure_here(work: Callable[[], Any]) -> tuple[float, float]:
    """Of this process, its helper and the children of that; without the helper's start."""
    fork_helper.stop()  # that of the process before: one of our own is waited for, and so counted
    sandbox.start(codec.DECODER)
    helper = psutil.Process().children()[0]
    helper_s = int(Path(f"/proc/{helper.pid}/schedstat").read_text().split()[0]) / 1e9
    helper_kb = helper.memory_info().rss / 1024
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    fork_helper.stop()
    here, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    cpu_s = sum(u.ru_utime + u.ru_stime for u in (here, children))
    cpu_s -= before.ru_utime + before.ru_stime + helper_s
    peak_kb = max(here.ru_maxrss - before.ru_maxrss, children.ru_maxrss - helper_kb)
    return cpu_s * 1000, peak_kb / 1024


def to_tensor(image: np.ndarray) -> np.ndarray:
    """What torchvision's ToTensor does."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255


def naive_decode(data: bytes, side: int) -> np.ndarray:
    """As in the articles: all pixels, then LANCZOS."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def our_decode(data: bytes, side: int) -> np.ndarray:
    return codec.decode(data, guard.check(data), side).image


def elsewhere(make: Callable[..., Any], *arguments: Any) -> Any:
    """What another process makes: a worker holds no pixels, and its forks cost accordingly."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(make, *arguments).result()


def camera_file(progressive: bool) -> bytes:
    """A JPEG of 24 megapixels."""
    return save(photo(6000, 4000), "JPEG", quality=92, progressive=progressive)


def bare_decode(data: bytes, side: int) -> np.ndarray:
    """Ours in this process: what the child costs is the difference."""
    memory = np.zeros(side * side * 4, np.uint8)
    arguments = {"header": asdict(guard.check(data)), "max_side": side}
    answer = decoder.decode(data, memory, arguments)
    height, width = answer["height"], answer["width"]
    return memory[: 3 * height * width].reshape(height, width, 3)


def bench_decode(repeats: int) -> Figures:
    figures: Figures = {}
    for name, progressive in (("baseline", False), ("progressive", True)):
        data = elsewhere(camera_file, progressive)
        figures[f"{name}_mb"] = len(data) / 1e6
        for side in SIDES:
            key = f"{name}_{side}"
            naive = measure(lambda d=data, s=side: to_tensor(naive_decode(d, s)), repeats)
            ours, bare = as_a_worker(_measure_ours, data, side, repeats)
            figures[f"{key}_naive_cpu_ms"], figures[f"{key}_naive_peak_mb"] = naive
            figures |= {f"{key}_{what}": value for what, value in ours.items()}
            figures[f"{key}_without_sandbox_cpu_ms"] = bare[0]
            figures[f"{key}_cpu_ratio"] = naive[0] / ours["cpu_ms"]
            figures[f"{key}_peak_ratio"] = naive[1] / ours["peak_mb"]
            figures[f"{key}_psnr_db"] = cv2.PSNR(naive_decode(data, side), our_decode(data, side))
    return figures


def bench_formats(repeats: int) -> Figures:
    """A photo of 12 megapixels in the other formats, at 1024 px."""
    figures: Figures = {}
    for name, data in elsewhere(other_files).items():
        naive = measure(lambda d=data: to_tensor(naive_decode(d, 1024)), repeats)
        ours, _ = as_a_worker(_measure_ours, data, 1024, repeats)
        figures[f"{name}_naive_cpu_ms"], figures[f"{name}_naive_peak_mb"] = naive
        figures |= {f"{name}_{what}": value for what, value in ours.items()}
    return figures


def other_files() -> dict[str, bytes]:
    """A photo of 12 megapixels, and its cut-out."""
    picture = photo(4000, 3000)
    opacity = (matte(3000, 4000) * 255).astype(np.uint8)
    cutout = Image.fromarray(np.dstack([np.asarray(picture), opacity]))
    lossless: dict[str, Any] = {"lossless": True, "method": 0, "quality": 0}
    return {
        "webp": save(picture, "WEBP", method=0),
        "webp_alpha": save(cutout, "WEBP", method=0),
        "webp_lossless_alpha": save(cutout, "WEBP", **lossless),
        "avif": save(picture, "AVIF", speed=10),
        "avif_alpha": save(cutout, "AVIF", speed=10),
    }


def _measure_ours(data: bytes, side: int, repeats: int) -> tuple[Figures, tuple[float, float]]:
    cv2.setNumThreads(1)

    def ours() -> Any:
        return to_tensor(our_decode(data, side))

    first_cpu_ms, peak_mb = measure(ours, repeats)
    figures = {
        "cpu_ms": measure_later(ours, first_cpu_ms, repeats),
        "first_cpu_ms": first_cpu_ms,
        "peak_mb": peak_mb,
    }
    return figures, measure(lambda: to_tensor(bare_decode(data, side)), repeats)


def as_a_worker(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do it in a fresh process, started as a cpu worker is: with huge pages for large buffers."""
    before = dict(os.environ)
    os.environ.update(environment.CPU)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(work, *arguments).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def bench_encode(repeats: int) -> Figures:
    figures: Figures = {}
    for side in SIDES:
        image = np.asarray(photo(side, side * 3 // 4))
        rgba = np.dstack([image, (matte(*image.shape[:2]) * 255).astype(np.uint8)])
        picture, matte_only = Image.fromarray(rgba), np.ascontiguousarray(rgba[..., 3])
        ways: dict[str, Callable[[], bytes]] = {
            "png_optimise": lambda p=picture: save(p, "PNG", optimize=True),
            "png_6": lambda p=picture: save(p, "PNG", compress_level=6),
            "webp_lossless": lambda p=picture: save(p, "WEBP", lossless=True),
            "our_png": lambda r=rgba: encode.png(r),
            "our_webp": lambda r=rgba: encode.webp(r),
            "our_avif": lambda r=rgba: encode.avif(r),
            "our_alpha_png": lambda m=matte_only: encode.png(m),
        }
        for name, write in ways.items():
            figures[f"{name}_{side}_kb"] = len(write()) / 1000
            figures[f"{name}_{side}_cpu_ms"] = measure(write, min(repeats, 3))[0]
        for name in ("our_webp", "our_avif"):
            share = figures[f"{name}_{side}_kb"] / figures[f"png_6_{side}_kb"]
            figures[f"{name}_{side}_of_png_6"] = share
    return figures


def loop_cutout(image: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """As in the articles: pixel by pixel."""
    height, width = prediction.shape
    result = np.zeros((height, width, 4), np.uint8)
    for y in range(height):
        for x in range(width):
            value = min(max(prediction[y, x], 0), 1)
            result[y, x, :3] = image[y, x] if value > 0 else 0
            result[y, x, 3] = int(value * 255)
    return result


def vector_cutout(image: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The same, all pixels at once."""
    opacity = (np.clip(prediction, 0, 1) * 255).astype(np.uint8)
    shown = (prediction > 0).view(np.uint8)
    return np.dstack([cv2.bitwise_and(image, image, mask=shown), opacity])


def bench_postprocess(repeats: int) -> Figures:
    image = np.asarray(photo(1024, 768))
    prediction, small = matte(768, 1024), matte(320, 320)
    assert (loop_cutout(image, prediction) == vector_cutout(image, prediction)).all()
    figures = {
        "loop_1024_cpu_ms": measure(lambda: loop_cutout(image, prediction), 2)[0],
        "vector_1024_cpu_ms": measure(lambda: vector_cutout(image, prediction), repeats)[0],
    }
    figures["vector_ratio"] = figures["loop_1024_cpu_ms"] / figures["vector_1024_cpu_ms"]
    for side in SIDES:
        large = np.asarray(photo(side, side * 3 // 4))
        refined = alpha.refine(small, large)
        for name, work in (
            ("refine", lambda i=large: alpha.refine(small, i)),
            ("cutout", lambda i=large, a=refined: edge_colours.cutout(i, a)),
        ):
            figures[f"{name}_{side}_cpu_ms"] = measure(work, repeats)[0]
    return figures


def bench_guard(repeats: int) -> Figures:
    """Microseconds of a header check by type and size; and what the child costs."""
    figures: Figures = {}
    for name, data in elsewhere(guard_files).items():
        best_s = min(timeit.repeat(lambda d=data: guard.check(d), number=1, repeat=200 * repeats))
        figures[f"guard_{name}_kb"] = len(data) / 1000
        figures[f"guard_{name}_us"] = best_s * 1e6
    figures["sandbox_cpu_ms"] = as_a_worker(_sandbox_cpu_ms, repeats)
    return figures


def _sandbox_cpu_ms(repeats: int) -> float:
    small = sandbox.Allowance(2**28, 10, 10)
    runs = 20
    work = ("tasks.imaging.confinement:report", b"", {}, 100, small)
    return measure(lambda: [sandbox.run(*work) for _ in range(runs)], repeats)[0] / runs


def guard_files() -> dict[str, bytes]:
    """A photo of 2 megapixels in each type; as progressive JPEG by its longer side."""
    picture, large = photo(1600, 1200), photo(6000, 4000)
    files = {
        "jpeg": save(picture, "JPEG"),
        "png": save(picture, "PNG", compress_level=1),
        "webp": save(picture, "WEBP", method=0),
        "avif": save(picture, "AVIF", speed=10),
    }
    for side in (640, 1024, 2048, 6000):
        small = large.resize((side, side * 2 // 3))
        files[f"progressive_{side}"] = save(small, "JPEG", quality=85, progressive=True)
    return files


def save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


GOALS = {
    "baseline_1024_cpu_ratio": (">=", 5),
    "baseline_1024_peak_ratio": (">=", 4),
    "progressive_1024_cpu_ratio": (">=", 2),
    "baseline_1024_psnr_db": (">=", 40),
    "progressive_1024_psnr_db": (">=", 40),
    "our_webp_1024_of_png_6": ("<=", 0.1),
    "our_webp_2048_of_png_6": ("<=", 0.1),
    "vector_ratio": (">=", 2.25),
    "guard_jpeg_us": ("<=", 50),
    "guard_png_us": ("<=", 50),
    "guard_webp_us": ("<=", 50),
    "guard_avif_us": ("<=", 50),
    "guard_progressive_1024_us": ("<=", 50),
    "guard_progressive_2048_us": ("<=", 50),
}


def show_all(figures: Figures) -> None:
    rows = [(name, f"{value:.2f}") for name, value in figures.items()]
    ways = ("png_optimise", "png_6", "webp_lossless", "our_png", "our_webp", "our_avif")
    show("Everything", ("figure", "value"), [row for row in rows if not row[0].startswith(ways)])
    show(
        "JPEG of 24 megapixels to a tensor: the usual way | ours",
        ("file", "longer side", "CPU ms", "peak MB", "PSNR dB"),
        [
            (
                f"{name}, {figures[f'{name}_mb']:.1f} MB",
                side,
                f"{figures[f'{name}_{side}_naive_cpu_ms']:.0f} | "
                f"{figures[f'{name}_{side}_cpu_ms']:.0f}",
                f"{figures[f'{name}_{side}_naive_peak_mb']:.0f} | "
                f"{figures[f'{name}_{side}_peak_mb']:.0f}",
                f"{figures[f'{name}_{side}_psnr_db']:.1f}",
            )
            for name in ("baseline", "progressive")
            for side in SIDES
        ],
    )
    show(
        "Cut-out to a file: kB, CPU ms",
        ("way", *(f"{side} px" for side in SIDES)),
        [
            (
                way,
                *(
                    f"{figures[f'{way}_{side}_kb']:.0f}, {figures[f'{way}_{side}_cpu_ms']:.0f}"
                    for side in SIDES
                ),
            )
            for way in (*ways, "our_alpha_png")
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    figures: Figures = {}
    for bench in (bench_decode, bench_formats, bench_guard, bench_encode, bench_postprocess):
        figures |= bench(repeats)
    show_all(figures)
    for name, (sign, goal) in GOALS.items():
        verdict(name, round(figures[name], 3), goal, at_most=sign == "<=")
    save_figures("imaging", {name: round(value, 3) for name, value in figures.items()})


if __name__ == "__main__":
    main()
