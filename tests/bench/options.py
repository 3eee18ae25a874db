"""What a bench may be told: numbers in the environment, and `--help`, which lists them."""

import argparse
import os
from typing import TypeVar

T = TypeVar("T", int, float, str)
_settings: list[str] = []


def setting(name: str, default: T, meaning: str) -> T:
    """The value of BENCH_<name> in the environment, which is of the type of its default."""
    _settings.append(f"  BENCH_{name}={default}  {meaning}")
    return type(default)(os.environ.get(f"BENCH_{name}", default))


def parser(about: str | None) -> argparse.ArgumentParser:
    """A parser whose `--help` shows what the bench says of itself, and the settings above."""
    lines = ["environment, with what holds by default:", *_settings] if _settings else []
    return argparse.ArgumentParser(
        description=about,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
