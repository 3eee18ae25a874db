"""Trains the classifier, from ImageNet features on; an interrupted training can be continued."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file
from torch.nn import functional

from tasks.models import registry, weights
from tasks.models.nets.facemask import Classifier
from tasks.models.nets.faces import CLASSES
from tasks.training.facemask.augmentation import augmented
from tasks.training.facemask.calibration import scores
from tasks.training.facemask.data import NOTHING, Sample

SEED = 20261121
BATCH = 64
RATE = 1e-3
FROZEN_BLOCKS = 3
"""The first blocks (edges and textures, down to 1/4 of the size) stay as ImageNet trained them:
that halves the time, and the few bare faces cannot spoil them."""

out = Console(highlight=False)


def train(samples: Sequence[Sample], folder: Path, epochs: int, device: str) -> Classifier:
    """The trained classifier, on the CPU. Seeded; continues after the last epoch in `folder`."""
    net = _from_imagenet().to(device)
    for layer in (net.stem, *list(net.blocks)[:FROZEN_BLOCKS]):
        layer.requires_grad_(False)
    learning = [values for values in net.parameters() if values.requires_grad]
    used = [sample for sample in samples if sample.split in ("train", "train-annotated")]
    balance = _balance(used)
    optimiser = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.02)
    steps = epochs * math.ceil(len(used) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    checkpoint = folder / "checkpoint.pt"
    done = 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        if stored["epochs"] == epochs:
            net.load_state_dict(stored["net"])
            optimiser.load_state_dict(stored["optimiser"])
            schedule.load_state_dict(stored["schedule"])
            done = stored["done"]
    for epoch in range(done, epochs):
        loss = _epoch(net, used, balance, optimiser, schedule, epoch, device)
        torch.save(
            {
                "epochs": epochs,
                "done": epoch + 1,
                "net": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
            },
            checkpoint,
        )
        out.print(f"epoch {epoch + 1}: loss {loss:.4f}; validation {_accuracy(net, samples)}")
    return net.cpu().eval()


def _epoch(
    net: Classifier,
    used: Sequence[Sample],
    balance: Mapping[int, float],
    optimiser: Any,
    schedule: Any,
    epoch: int,
    device: str,
) -> float:
    chance = random.Random(SEED + epoch)
    torch.manual_seed(SEED + epoch)
    order = list(range(len(used)))
    chance.shuffle(order)
    things = [sample for sample in used if sample.label == NOTHING]
    total = 0.0
    net.train()
    for at in track(range(0, len(order), BATCH), f"epoch {epoch + 1}"):
        chosen = [used[k] for k in order[at : at + BATCH]]
        pairs = [augmented(sample, chance, things) for sample in chosen]
        pixels = torch.from_numpy(np.stack([crop for crop, _ in pairs])).permute(0, 3, 1, 2)
        labels = torch.tensor([label for _, label in pairs]).to(device)
        importance = torch.tensor([each.weight * balance[each.label] for each in chosen]).to(device)
        batch = pixels.float().to(device).contiguous(memory_format=torch.channels_last)
        losses = functional.cross_entropy(
            net(batch), labels, reduction="none", label_smoothing=0.03
        )
        loss = (losses * importance).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # not typed by torch
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(chosen)
    net.eval()
    return total / len(order)


def _balance(used: Sequence[Sample]) -> dict[int, float]:
    """Weight per class: rare ones count for more, by the square root of how rare they are."""
    counts = {label: sum(sample.label == label for sample in used) for label in range(len(CLASSES))}
    largest = max(counts.values())
    return {label: math.sqrt(largest / max(1, count)) for label, count in counts.items()}


def _from_imagenet() -> Classifier:
    """A new classifier whose stem and blocks are those of the model `classify`."""
    [file] = weights.fetch_model(registry.get("classify")).values()
    torch.manual_seed(SEED)
    net = Classifier()
    wanted = net.state_dict()
    known = {k: v for k, v in load_file(file).items() if k in wanted and v.shape == wanted[k].shape}
    known = {k: v for k, v in known.items() if k.startswith(("stem.", "blocks."))}
    net.load_state_dict({**wanted, **known})
    ready: Any = net
    return cast(Classifier, ready.to(memory_format=torch.channels_last))


def _accuracy(net: Classifier, samples: Sequence[Sample]) -> str:
    used = [sample for sample in samples if sample.split == "validation"]
    predicted = scores(net, used).argmax(axis=1)
    parts = []
    for label, name in enumerate(CLASSES):
        right = [bool(predicted[k] == label) for k, it in enumerate(used) if it.label == label]
        parts.append(f"{name} {sum(right)}/{len(right)}")
    return ", ".join(parts)
