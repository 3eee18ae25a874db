"""`python -m workers cpu|gpu`: one worker process (see also `pixelmill worker --help`)."""

import argparse

from tasks.log import configure
from tasks.settings import settings
from workers.environment import let_threads_rest, restart_with_huge_pages


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, start the worker."""
    parser = argparse.ArgumentParser(prog="pixelmill worker", description=__doc__)
    parser.add_argument("kind", choices=["cpu", "gpu"])
    parser.add_argument("--models", default="", help="comma-separated; default: all (gpu)")
    parser.add_argument("--gpu", type=int, help="number of the GPU that this worker owns (gpu)")
    chosen = parser.parse_args(arguments)
    if chosen.kind == "cpu":
        restart_with_huge_pages()
    else:
        let_threads_rest()
    configure(settings().log_level)
    from workers import boot

    if chosen.kind == "cpu":
        boot.cpu()
    else:
        boot.gpu(chosen.models, chosen.gpu)


if __name__ == "__main__":
    main()
