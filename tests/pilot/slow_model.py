"""Writes the model of `make pilot`: the simulated device with two profiles, which a file makes four
times slower, and a version of it that fails for every fifth photo."""

import hashlib
from pathlib import Path

from stack import REPOSITORY

TWO_PROFILES = '''
import dataclasses

from tasks.models.base import Weight

SLOW = Path("{slow}")
"""While this file exists, the device takes four times as long."""


class Profiled(Simulated):
    """`fast` costs a quarter of `best`."""

    profile: Literal["fast", "best"] = "fast"


def _load(weights: Mapping[str, Path], where: str) -> Device:
    made = load(weights, where)
    return dataclasses.replace(made, b_ms=made.b_ms / (4 if "fast" in weights else 1))


def _run(device: Device, batch: Any) -> Any:
    times = 4 if SLOW.exists() else 1
    return dataclasses.replace(
        device, a_ms=device.a_ms * times, b_ms=device.b_ms * times
    ).run(batch)


MODEL = dataclasses.replace(
    MODEL,
    params=Profiled,
    load=_load,
    infer=_run,
    profiles=("fast", "best"),
    weights={{name: Weight("{folder}/" + name, "{sha256}", "none") for name in ("fast", "best")}},
)
'''
FAILS = """

def _sometimes(device: Device, batch: Any) -> Any:
    if any(int(image[0, 0, 0]) % 5 == 1 for image in batch):
        raise ValueError("this version fails for every fifth image")
    return _run(device, batch)


MODEL = dataclasses.replace(MODEL, infer=_sometimes, max_batch=1)
"""


def write(folder: Path, slow: Path, *, fails: bool = False) -> None:
    """The model's file, and its weights, which are empty."""
    folder.mkdir()
    for name in ("fast", "best"):
        (folder / name).touch()
    source = (REPOSITORY / "tests" / "models" / "simulated.py").read_text()
    sha256 = hashlib.sha256(b"").hexdigest()
    more = TWO_PROFILES.format(slow=slow, folder=folder, sha256=sha256)
    (folder / "simulated.py").write_text(source + more + (FAILS if fails else ""))
