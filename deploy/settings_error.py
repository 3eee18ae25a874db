"""What is said of settings that cannot be read."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError  # `pixelmill --help` does not import it

EXAMPLE_FILE = Path(__file__).parent / ".env.example"
HINT = f"All settings with their defaults are in {EXAMPLE_FILE}."


def describe(error: "ValidationError") -> str:
    """Which settings are wrong and why, without their values, as some of them are secrets."""
    mistakes = error.errors(include_input=False)
    return "; ".join(f"PIXELMILL_{str(e['loc'][0]).upper()}: {e['msg']}" for e in mistakes)
