"""What the mattes are worth, against composites with exactly known alpha: raw, refined, by profile.

    make bench-quality

Errors per picture, then their mean. sad: sum of |difference| / 1000. mse: mean squared difference
x 1000. gradient: sum of the squared difference of the gradients (Gaussian, 1.4 px) / 1000, after
Rhemann et al., CVPR 2009. bleed: mean alpha where there is background only, in %.
Raw is the network's map, stretched to 0..1 and enlarged bilinearly; refined what a job answers by
default; edges the same without the step before it (clean=false). The same again on composites that
no constant was chosen by (`held_out_...`), and what each step costs on the CPU. `fast_mnn` is the
profile `fast` as hosts without a GPU run it.
"""

import time
from collections.abc import Callable
from statistics import mean
from typing import Any

import cv2
import numpy as np
import torch
from composites import Composite, composites, held_out
from options import parser
from table import save, show, verdict

from tasks.imaging import alpha as refining
from tasks.imaging import hair
from tasks.models import matting, registry, weights
from tasks.models.engines import Engine
from tasks.models.matting import Matting
from tasks.models.nets import saliency
from workers.gpu.engine import by_engine

MEASURES = ("sad", "mse", "gradient", "bleed")
SIGMA_PX = 1.4
STATES = ("raw", "edges", "refined")
MEASURED: dict[str, tuple[str, Engine]] = {
    "fast": ("fast", "torch"),
    "fast_mnn": ("fast", "mnn"),
    "quality": ("quality", "torch"),
}
"""Name -> the profile, and what runs it."""
GOAL = 25.0
"""Percent of the gradient error that refinement must take away."""
HELD_OUT = (104, 105)
"""Seeds."""
COST_SIDES = (1024, 2048)
COST_RUNS = 5

Map = np.ndarray[Any, Any]
Found = dict[tuple[str, str], dict[str, float]]
"""(picture, state) -> its errors."""


def errors(alpha: Map, truth: Map) -> dict[str, float]:
    """Both H x W uint8."""
    matte, real = alpha.astype(np.float64) / 255, truth.astype(np.float64) / 255
    difference = matte - real
    return {
        "sad": float(np.abs(difference).sum()) / 1000,
        "mse": float((difference**2).mean()) * 1000,
        "gradient": float(((_gradient(matte) - _gradient(real)) ** 2).sum()) / 1000,
        "bleed": float(matte[truth == 0].mean()) * 100,
    }


def _gradient(matte: Map) -> Map:
    """Its magnitude, by derivatives of a Gaussian."""
    reach = np.arange(-5, 6)
    smooth = np.exp(-(reach**2) / (2 * SIGMA_PX**2))
    slope = -reach / SIGMA_PX**2 * smooth
    smooth, slope = smooth / np.sqrt((smooth**2).sum()), slope / np.sqrt((slope**2).sum())
    across = cv2.sepFilter2D(matte, cv2.CV_64F, slope, smooth)
    return np.hypot(across, cv2.sepFilter2D(matte, cv2.CV_64F, smooth, slope))


class Profile:
    """One profile on the CPU, one thread."""

    def __init__(self, name: str, engine: Engine) -> None:
        variant = registry.variant(registry.variant_name("matting", matting.MODEL, name))
        self.model, self.engine = by_engine(variant, engine, 1)
        self.session = self.model.load(weights.fetch_model(self.model), "cpu")
        self.ms: list[float] = []

    def map(self, image: Map) -> Map:
        """1 x 320 x 320, as the device hands it on."""
        batch = matting.preprocess(image, Matting())[None]
        given = torch.from_numpy(batch) if self.engine == "torch" else batch
        began = time.process_time()  # one thread: the same as on a clock, were the machine ours
        output = self.model.infer(self.session, given)[0]
        self.ms.append((time.process_time() - began) * 1000)
        return np.asarray(output)

    def figures(self, name: str) -> dict[str, float]:
        """Its parameters, if torch runs it, and the median time of a map."""
        found = {f"{name}_ms": round(sorted(self.ms)[len(self.ms) // 2], 1)}
        if isinstance(self.session, torch.nn.Module):
            found[f"{name}_parameters"] = sum(p.numel() for p in self.session.parameters())
        return found


def mattes(output: Map, image: Map) -> dict[str, Map]:
    """`raw`, `edges` and `refined`, at the image's size."""
    size = (image.shape[1], image.shape[0])
    coarse = np.rint(output[0] * 255).astype(np.uint8)
    raw = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR))
    edges, refined = (
        matting.postprocess(output, image, Matting(clean=clean), ()).images["alpha"]
        for clean in (False, True)
    )
    return {"raw": raw, "edges": edges, "refined": refined}


def measure(profile: Profile, pictures: list[Composite]) -> Found:
    measured: Found = {}
    for picture in pictures:
        for state, alpha in mattes(profile.map(picture.image), picture.image).items():
            measured[picture.name, state] = errors(alpha, picture.alpha)
    return measured


def means(measured: Found, state: str) -> dict[str, float]:
    return {
        key: round(mean(e[key] for (_, s), e in measured.items() if s == state), 4)
        for key in MEASURES
    }  # fmt: skip


def saved_percent(measured: Found) -> float:
    """Of the gradient error, by refinement."""
    raw, fine = (means(measured, state)["gradient"] for state in ("raw", "refined"))
    return round(100 * (1 - fine / raw), 1)


def raised(measured: Found) -> list[str]:
    """The pictures whose MSE refinement raises, in words."""
    pairs = [
        (name, measured[name, "raw"], measured[name, "refined"])
        for name, s in measured
        if s == "raw"
    ]
    return [
        f"{name}: mse {raw['mse']:.2f} -> {fine['mse']:.2f}"
        for name, raw, fine in pairs
        if fine["mse"] > raw["mse"]
    ]


def show_pictures(title: str, measured: Found) -> None:
    names = dict.fromkeys(name for name, _ in measured)
    rows = [[name, *(f"{measured[name, s][k]:.2f}" for k in MEASURES for s in STATES)]
            for name in names]  # fmt: skip
    show(title, ["picture", *(f"{k} {s}" for k in MEASURES for s in STATES)], rows)


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
    return sorted(taken)[COST_RUNS // 2]


def main() -> None:
    parser(__doc__).parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pictures = list(composites())
    unseen = [picture for seed in HELD_OUT for picture in held_out(seed)]
    figures: dict[str, Any] = {"mse_raised": 0, "held_out_mse_raised": 0}
    rows, worse = [], []
    for name, (profile_name, engine) in MEASURED.items():
        profile = Profile(profile_name, engine)
        for prefix, set_ in (("", pictures), ("held_out_", unseen)):
            measured = measure(profile, set_)
            show_pictures(f"{prefix}{name}", measured)
            for state in STATES:
                of_state = means(measured, state)
                figures |= {f"{prefix}{name}_{state}_{k}": v for k, v in of_state.items()}
                rows.append([f"{prefix}{name}", state, *of_state.values()])
            figures[f"{prefix}{name}_gradient_saved_percent"] = saved_percent(measured)
            figures[f"{prefix}mse_raised"] += len(raised(measured))
            worse += [f"{name}, {line}" for line in raised(measured)]
        figures |= profile.figures(name)
    for side in COST_SIDES:
        figures |= cost_ms(pictures[0], side)
    show("means", ["profile", "matte", *MEASURES], rows)
    for key, value in figures.items():
        if key.endswith("saved_percent"):
            verdict(f"{key}: of the gradient error", value, GOAL, at_most=False)
        elif key.endswith(("_ms", "_parameters")):
            print(f"{key}: {value}")
    sets = len(MEASURED)
    raised_mse = figures["mse_raised"]
    verdict(f"of {sets * len(pictures)} mattes refinement raised the MSE of", raised_mse, 0)
    print(f"held out: of {sets * len(unseen)} that of {figures['held_out_mse_raised']}")
    print("\n".join(worse))
    save("quality", figures)


if __name__ == "__main__":
    main()
