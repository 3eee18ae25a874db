"""`python -m workers cpu|gpu`: one worker process (see also `pixelmill worker --help`)."""

import argparse

from tasks.log import configure
from tasks.settings import settings


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, start the worker."""
    parser = argparse.ArgumentParser(prog="pixelmill worker", description=__doc__)
    parser.add_argument("kind", choices=["cpu", "gpu"])
    parser.add_argument("--models", default="", help="comma-separated; default: all (gpu)")
    parser.add_argument("--gpu", type=int, help="number of the GPU that this worker owns (gpu)")
    chosen = parser.parse_args(arguments)
    configure(settings().log_level)
    from workers import boot

    if chosen.kind == "cpu":
        boot.cpu()
    else:
        boot.gpu(chosen.models, chosen.gpu)


if __name__ == "__main__":
    main()
