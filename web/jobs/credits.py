"""How much may wait between the backlog and the devices: enough to keep them busy, and no more.

What has been taken from the backlog is served in the order in which it was taken. So what waits
there cannot be overtaken any more by somebody whose turn comes first.
"""

from math import ceil

from storage.catalogue import Catalogue, ModelCard
from tasks.queues import gpu_queue
from tasks.settings import settings
from web.jobs import admission

WAY_MS = 30.0
"""How long a run takes from backlog to device besides its preprocessing: messages, scratch, and the
rest of the message before."""
LONGEST_PREPROCESS_MS = 500.0
MOST_PER_WORKER = 256


def tickets(catalogue: Catalogue) -> int:
    """Most tickets of a priority that wait at a time. Each worker that takes one queues the next,
    so one is enough for a few processes."""
    return max(1, ceil(admission.cpu_processes(catalogue) / 4))


def runs(catalogue: Catalogue) -> dict[str, int]:
    """Model -> most of its runs between the backlog and the end of inference.

    That is, per worker that serves it: a batch on the device, one that waits, and what the device
    does while another run is preprocessed.
    """
    return {
        name: _room(card) * sum(gpu_queue(name) in worker["queues"] for worker in catalogue.workers)
        or _room(card)
        for name, card in catalogue.models.items()
    }


def at_a_time(catalogue: Catalogue) -> dict[str, int]:
    """Model -> most of its runs at a time, where PIXELMILL_MODEL_LIMITS says that; else 0."""
    return {name: settings().limits_of(name).at_a_time for name in catalogue.models}


def _room(card: ModelCard) -> int:
    cost = card["cost_ms"]
    batch = _useful_batch(cost["a"], cost["b"], card["max_batch"])
    run_ms = cost["b"] + cost["a"] / batch
    preprocess_ms = card.get("mean_stage_ms", {}).get("preprocess", 0)
    if card.get("input") != "volume":  # decoding a volume takes seconds
        preprocess_ms = min(preprocess_ms, LONGEST_PREPROCESS_MS)
    most = min(MOST_PER_WORKER, (preprocess_ms + WAY_MS) / max(run_ms, 0.01))
    return min(2 * batch + int(most), MOST_PER_WORKER)


def _useful_batch(a_ms: float, b_ms: float, most: int) -> int:
    """The size from which larger batches save less than a fifth of the time of a run."""
    return min(most, max(1, ceil(4 * a_ms / b_ms))) if b_ms > 0 else most
