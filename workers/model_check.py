"""`pixelmill models check`: takes photos through a model's functions and says what is wrong.

It does what a cpu worker and a gpu worker do one after the other, without servers or a queue.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
import psutil
import typer
from numpy.typing import NDArray

from tasks.errors import JobError, ModelFailure
from tasks.imaging import codec, encode, guard
from tasks.imaging.types import NO_IMAGE, Image
from tasks.imaging.volumes.opening import open_volume
from tasks.models import contract, registry
from tasks.models.base import Inferred, Model, Output
from tasks.preprocess import MAX_SIDE
from tasks.settings import settings

WANTED = ("alpha", "preview")
"""The pictures that a request asks for unless it names others."""
SIZES = ((480, 640), (640, 480), (16, 16))
"""Heights and widths of the photos that are drawn where none is given."""
REPEATS, REPEAT_S = 12, 5.0
"""The last photo goes through so often, or for so long, to see whether memory grows."""
GROWTH_MIB = 48.0
FAR_APART = 1e-2
"""Relative difference between an image alone and in a batch from which it is called another."""

T = TypeVar("T")


class Runs(Protocol):
    """What loads and runs networks: workers/gpu/device.py."""

    @property
    def loaded(self) -> Mapping[str, Any]:
        """Name -> a model whose `infer` takes a batch as it is, N x C x H x W."""

    def load(self, name: str) -> None:
        """Load and warm up a model."""

    def run(self, bin: Any, arrays: Any) -> list[Inferred | Exception]:
        """One answer per array."""


class Failed(Exception):
    """The check found what makes the model unusable; it was printed."""


@dataclass
class ModelCheck:
    """The check of one model file."""

    file: Path
    device: Runs
    out: Path | None = None
    """Folder for the pictures that the model makes; None: they are not kept."""
    is_quiet: bool = False
    """Whether only what is wrong is printed."""
    ms: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's."""
        return self.file.stem

    def run(self, photo: Path | None, given: Sequence[str]) -> None:
        """Print a line per finding. Raises Failed after the first that is wrong."""
        model = self._attempt("file", lambda: registry.get(self.name))
        self._say("ok", "file", f"{model.title}: kind {model.kind}, {len(model.bins)} bins")
        if "torch" in sys.modules:
            self._say("warn", "file", "imports torch at its top; cpu workers load it too, 300 MiB")
        params = self._attempt("parameters", lambda: _params(model, given))
        self._say("ok", "parameters", str(params) or "none")
        began = time.perf_counter()
        self._attempt("load", lambda: self.device.load(self.name))
        self._say("ok", "load", f"{time.perf_counter() - began:.2f} s, with a first run per bin")
        subjects = self._attempt("photo", lambda: list(_subjects(self.name, model, photo)))
        for what, subject in subjects:
            self._take_through(model, params, what, subject)
        self._watch_memory(model, params, *subjects[0])

    def _take_through(self, model: Model, params: Any, what: str, subject: Any) -> None:
        array = self._prepare(model, params, what, subject)
        answers = self._infer(model, what, array)
        self._finish(model, params, what, subject, answers)

    def _prepare(self, model: Model, params: Any, what: str, subject: Any) -> NDArray[Any]:
        small = self._small(model, params, subject)
        step = f"preprocess of {what}"
        array = self._attempt(
            step, lambda: contract.prepared(model.preprocess(subject, params, *small), model)
        )
        self._check_numbers(step, array)
        self._say("ok", step, f"{_sides(array)} {array.dtype}, {_range(array)}{self._took(step)}")
        return array

    def _infer(self, model: Model, what: str, array: NDArray[Any]) -> NDArray[Any]:
        step = f"infer of {what}"
        items = list(array) if model.input == "volume" else [array]
        bin = self.name, items[0].shape, "float32"
        answers = self._attempt(step, lambda: np.stack([self._output(bin, item) for item in items]))
        self._check_numbers(step, answers)
        self._say("ok", step, f"{_sides(answers[0])}, {_range(answers)}{self._took(step)}")
        if model.max_batch > 1:
            # Not by `run`, which may compute one after the other where that is quicker.
            both = np.stack([np.float32(1) - items[0], items[0]]).astype(np.float32)
            beside = self._attempt(step, lambda: self.device.loaded[self.name].infer(both))
            self._compare(step, answers[0], beside[1])
        return answers

    def _output(self, bin: Any, array: NDArray[Any]) -> NDArray[Any]:
        [answer] = self.device.run(bin, [np.float32(array)])
        if isinstance(answer, Exception):
            raise answer
        return answer.array

    def _compare(self, step: str, alone: NDArray[Any], beside: NDArray[Any]) -> None:
        apart = float(np.abs(alone - beside).max()) if alone.shape == beside.shape else np.inf
        if apart > FAR_APART * max(1.0, float(np.abs(alone).max())):
            self._say(
                "warn",
                step,
                f"another answer in a batch of two than alone (they differ by {apart:.3g})",
                "Nothing of an image may depend on the others; or set max_batch=1.",
            )

    def _finish(
        self, model: Model, params: Any, what: str, subject: Any, answers: NDArray[Any]
    ) -> None:
        step = f"postprocess of {what}"
        small = self._small(model, params, subject)
        array = answers if model.input == "volume" else answers[0]

        def finish() -> Output:
            output = model.postprocess(array, subject, params, WANTED, *small)
            return contract.finished(output, model, subject)

        output = self._attempt(step, finish)
        parts = [f"data: {', '.join(output.data) or 'none'}"]
        parts += [f"{name} {_sides(picture)}" for name, picture in output.images.items()]
        parts += [f"{name} {len(file.data)} bytes" for name, file in output.files.items()]
        self._say("ok", step, "; ".join(parts) + self._took(step))
        if self.out and not self.is_quiet:
            _write(self.out, what, output)

    def _watch_memory(self, model: Model, params: Any, what: str, subject: Any) -> None:
        """Warn if the memory of this process grows with each photo."""
        used: list[float] = []
        ends = time.perf_counter() + REPEAT_S
        self.is_quiet = True
        while len(used) < REPEATS and (len(used) < 2 or time.perf_counter() < ends):
            self._take_through(model, params, what, subject)
            used.append(psutil.Process().memory_info().rss / 2**20)
        self.is_quiet = False
        growth = used[-1] - used[len(used) // 2 - 1]
        if growth > GROWTH_MIB and used[-1] == max(used):
            self._say("warn", "memory", f"grew by {growth:.0f} MiB in {len(used) // 2} runs")
        else:
            self._say("ok", "memory", f"{used[-1]:.0f} MiB after {len(used)} more runs")

    def _small(self, model: Model, params: Any, subject: Any) -> tuple[Any, ...]:
        glance = model.glance
        if glance is None:
            return ()
        return (self._attempt("glance", lambda: glance(subject, params)),)

    def _check_numbers(self, step: str, array: NDArray[Any]) -> None:
        if not np.isfinite(array).all():
            self._fail(step, "there are NaN or infinite numbers in what it returned")

    def _attempt(self, step: str, action: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            result = action()
        except JobError as error:
            cause = error.__cause__
            self._fail(step, str(error), error.hint or (self._place(cause) if cause else ""))
        except (Exception, SystemExit) as error:  # a model's functions may raise anything
            self._fail(step, f"{type(error).__name__}: {error}", self._place(error))
        self.ms[step] = (time.perf_counter() - began) * 1000
        return result

    def _place(self, error: BaseException) -> str:
        """Where in the model's file it was raised."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).name == self.file.name]
        return f"{self.file}:{own[-1].lineno}: {own[-1].line}" if own else ""

    def _took(self, step: str) -> str:
        return f" ({self.ms[step]:.0f} ms)"

    def _fail(self, step: str, message: str, hint: str = "") -> NoReturn:
        self._say("fail", step, message, hint)
        raise Failed

    def _say(self, level: str, step: str, message: str, hint: str = "") -> None:
        if self.is_quiet and level != "fail":
            return
        typer.echo(f"{level:5}{step}: {message}")
        if hint:
            typer.echo(f"     -> {hint}")


def _params(model: Model, given: Sequence[str]) -> Any:
    pairs = [text.partition("=") for text in given]
    return model.params(**{name: value for name, _, value in pairs})


def _subjects(name: str, model: Model, photo: Path | None) -> Iterator[tuple[str, Any]]:
    """What the model is given, and what that is called."""
    if model.input == "volume":
        if photo is None:
            raise ModelFailure(
                "a model of volumes needs one", hint="Name a file: NIfTI, NRRD, or a zip of DICOM."
            )
        volume = open_volume(photo.read_bytes(), settings().volume_limits(name))
        yield photo.name, volume
    elif model.decode == "none":
        yield "nothing", NO_IMAGE
    elif photo is not None:
        limits, data = settings().guard_limits, photo.read_bytes()
        header = guard.check(data, limits)
        yield photo.name, _frozen(codec.decode(data, header, MAX_SIDE, limits=limits).image)
    else:
        for height, width in SIZES:
            yield f"a drawn {height} x {width}", _frozen(_drawn(height, width))


def _drawn(height: int, width: int) -> Image:
    """A bright disc on a ground that goes from dark to less dark."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    image = np.stack([60 * rows, 80 * columns, 40 + 0 * rows], 2)
    image[(rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.09] = 230, 180, 120
    return image.astype(np.uint8)


def _frozen(image: Image) -> Image:
    """Read-only, as arrays between the stages are."""
    image.flags.writeable = False
    return image


def _write(folder: Path, what: str, output: Output) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for full_name, picture in output.images.items():
        name, _, form = full_name.partition(".")
        form = form or "png"
        target = folder / f"{what.replace(' ', '-')}.{name}.{form}"
        target.write_bytes(encode.ENCODERS[form](picture, b""))
        typer.echo(f"     -> {target}")


def _sides(array: NDArray[Any]) -> str:
    return " x ".join(str(side) for side in array.shape) or "a number"


def _range(array: NDArray[Any]) -> str:
    return f"{array.min():.3g} to {array.max():.3g}" if array.size else "empty"


def main(arguments: Sequence[str], device: Callable[[], Runs]) -> int:
    """`check FILE [PHOTO] [--param name=value]... [--out FOLDER]`; returns the exit code."""
    import argparse

    parser = argparse.ArgumentParser(prog="pixelmill models check")
    parser.add_argument("file", type=Path)
    parser.add_argument("photo", type=Path, nargs="?")
    parser.add_argument("--param", action="append", default=[])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    check = ModelCheck(chosen.file, device(), chosen.out)
    try:
        check.run(chosen.photo, chosen.param)
    except Failed:
        return 1
    folder = chosen.file.parent.resolve()
    setting = "" if folder == registry.FOLDER else f"PIXELMILL_MODEL_PATHS={folder} "
    typer.echo(f"{check.name} works. To serve it: {setting}pixelmill up")
    return 0
