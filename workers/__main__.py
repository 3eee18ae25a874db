"""`python -m workers cpu|gpu`: one worker process (see also `pixelmill worker --help`)."""

import argparse
import sys
from typing import TYPE_CHECKING

from workers.environment import let_threads_sleep, restart_with_huge_pages

if TYPE_CHECKING:  # it is loaded by those that run networks alone
    from workers.gpu.device import Device


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run the worker that it asks for."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["check"]:
        raise SystemExit(_check(given[1:]))
    parser = argparse.ArgumentParser(prog="pixelmill worker", description=__doc__)
    parser.add_argument("kind", choices=["cpu", "gpu"])
    parser.add_argument("--models", default="", help="comma-separated; default: all (gpu)")
    parser.add_argument("--gpu", type=int, help="number of the GPU that this worker uses (gpu)")
    chosen = parser.parse_args(given)
    if chosen.kind == "cpu":
        restart_with_huge_pages()
    else:
        let_threads_sleep()
    _start(chosen)


def _start(chosen: argparse.Namespace) -> None:
    # Not before: a cpu worker that starts anew for its libraries would import all of it twice.
    from tasks import extras
    from tasks.clients import refuse_old_layout
    from tasks.errors import Unavailable
    from tasks.log import configure
    from tasks.settings import settings

    configure(settings().log_level)
    refuse_old_layout("pixelmill worker")
    try:
        with extras.explained():
            _run(chosen)
    except Unavailable as error:
        raise SystemExit(f"pixelmill worker: {error}. {error.hint}") from error


def _run(chosen: argparse.Namespace) -> None:
    if chosen.kind == "cpu":
        from workers import boot as cpu_boot

        cpu_boot.cpu()
    else:
        from workers.gpu import boot as gpu_boot

        gpu_boot.gpu(chosen.models, chosen.gpu)


def _check(arguments: list[str]) -> int:
    """Try a model file, as `pixelmill models check` asks."""
    from tasks.log import configure
    from workers import model_check

    configure("warning")
    return model_check.main(arguments, _device)


def _device() -> "Device":
    """The device that a gpu worker of this host would use."""
    from tasks.models import engines
    from tasks.settings import settings
    from workers import pinning
    from workers.gpu.accelerator import choose
    from workers.gpu.device import Device

    accelerator = choose(settings().device, settings().precision)
    engine = engines.choose(accelerator.name, settings())
    return Device(accelerator, engine=engine, threads=pinning.threads(settings().threads))


if __name__ == "__main__":
    main()
