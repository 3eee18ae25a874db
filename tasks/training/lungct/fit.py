"""Trains the lung network; an interrupted training is continued where it was."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tasks.models.nets.lungct import LungNet
from tasks.training.lungct.augmentation import augmented
from tasks.training.lungct.data import HIGH, LOW, Patient

SEED = 20261130
BATCH = 8
RATE, REFINING_RATE = 2e-3, 1e-3
"""Highest learning rate, from nothing and from other weights."""
SAVE_EVERY = 50
"""Steps between two checkpoints."""
BORDER = 4
"""Slices around the first and the last with lung that are chosen more often: they are the hard
ones."""

FEW = 64.0
"""Pixels of lung, or of false lung in a slice without any, that count as much as a slice's Dice can
do: less is a matter of chance."""

out = Console(highlight=False)


def train(
    patients: Sequence[Patient],
    folder: Path,
    steps: int,
    device: str,
    start: Mapping[str, Tensor] = MappingProxyType({}),
) -> LungNet:
    """The trained network, on the CPU: the average over the last steps. Seeded.

    `start`: weights to refine. Without any, the network starts from nothing.
    Continues after the last checkpoint in `folder`, if that was of as many steps and of the same
    patients.
    """
    torch.manual_seed(SEED)
    net = LungNet().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub lacks it
    if start:
        net.load_state_dict({name: value.float() for name, value in start.items()})
    rate = REFINING_RATE if start else RATE
    averaging: Any = get_ema_multi_avg_fn(0.99)  # type: ignore[no-untyped-call]  # not typed by torch
    average = AveragedModel(net, multi_avg_fn=averaging, use_buffers=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.1
    )
    parts = {"net": net, "average": average, "optimiser": optimiser, "schedule": schedule}
    run = {"steps": steps, "patients": [patient.name for patient in patients]}
    done = _restore(folder / "checkpoint.pt", run, parts)
    choices = _choices(patients)
    with Progress(console=out) as progress:
        bar = progress.add_task("training", total=steps, completed=done)
        for step in range(done, steps):
            loss = _step(net, patients, choices, optimiser, step, device)
            schedule.step()
            average.update_parameters(net)
            progress.update(bar, advance=1, description=f"loss {loss:.3f}")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                _save(folder / "checkpoint.pt", run, parts, step + 1)
                out.print(f"step {step + 1}: loss {loss:.4f}")
    return cast(LungNet, average.module.cpu().eval())


def _choices(patients: Sequence[Patient]) -> list[list[tuple[int, int]]]:
    """(patient, slice) to choose from: those with lung, those at a border, those without."""
    kinds: list[list[tuple[int, int]]] = [[], [], []]
    for n, patient in enumerate(patients):
        has = patient.with_lung
        near = np.convolve(has, np.ones(2 * BORDER + 1), mode="same")
        for z in range(len(has)):
            is_border = 0 < near[z] < 2 * BORDER + 1
            kinds[1 if is_border else 0 if has[z] else 2].append((n, z))
    return [kind for kind in kinds if kind]


def _step(
    net: LungNet,
    patients: Sequence[Patient],
    choices: Sequence[Sequence[tuple[int, int]]],
    optimiser: Any,
    step: int,
    device: str,
) -> float:
    chance = random.Random(SEED * 1_000_000 + step)
    kinds = chance.choices(choices, weights=(3, 3, 2)[: len(choices)], k=BATCH)
    pairs = [augmented(patients[n], z, chance) for n, z in (chance.choice(kind) for kind in kinds)]
    slices = torch.from_numpy(np.stack([picture for picture, _ in pairs]))[:, None].to(device)
    lungs = torch.from_numpy(np.stack([mask for _, mask in pairs]))[:, None].to(device)
    net.train()
    loss = _loss(net(scaled(slices)), lungs)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # not typed by torch
    torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
    optimiser.step()
    return float(loss.detach())


def scaled(slices: Tensor) -> Tensor:
    """HU -> what the network takes, -1..1."""
    return (slices.clamp(LOW, HIGH) - LOW) * (2 / (HIGH - LOW)) - 1


def _loss(scores: Tensor, lungs: Tensor) -> Tensor:
    """Cross entropy, and Dice of each slice, so that the thin base counts as a whole lung does."""
    entropy = functional.binary_cross_entropy_with_logits(scores, lungs)
    chance, axes = scores.sigmoid(), (1, 2, 3)
    both, sizes = (chance * lungs).sum(axes), chance.sum(axes) + lungs.sum(axes)
    return entropy + 1 - ((2 * both + FEW) / (sizes + FEW)).mean()


def _restore(file: Path, run: dict[str, Any], parts: dict[str, Any]) -> int:
    """Steps done; the parts are as they were then."""
    if not file.exists():
        return 0
    stored = torch.load(file, weights_only=True)
    if stored["run"] != run:
        return 0
    for name, part in parts.items():
        part.load_state_dict(stored[name])
    return int(stored["done"])


def _save(file: Path, run: dict[str, Any], parts: dict[str, Any], done: int) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    temporary = file.with_suffix(".new")
    torch.save({"run": run, "done": done, **states}, temporary)
    temporary.replace(file)
