"""make fuzz: thousands of requests made from the OpenAPI document, however users are known.

`--examples N` asks for N requests a route and phase (300), `--mode WORD` for one way alone. It ends
with 1 if an answer was a 5xx or not what the document says, or if no job gets through afterwards.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from document_requests import MODES, run, works
from stack import MODEL_PATHS, Stack


def main() -> int:
    """Try each mode; how many of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--mode", choices=MODES)
    given = parser.parse_args()
    env = {"PIXELMILL_MODELS": "toy,noop", "PIXELMILL_MODEL_PATHS": MODEL_PATHS}
    failed = 0
    for mode in [given.mode] if given.mode else MODES:
        with (
            tempfile.TemporaryDirectory() as folder,
            Stack(Path(folder), {**env, **MODES[mode].settings}) as stack,
        ):
            examples = ["--max-examples", str(given.examples)]
            outcome = run(stack.start_all(), stack.url, MODES[mode], *examples)
            is_well = works(stack)
        failed += outcome.has_failed or not is_well
        print(outcome.text if outcome.has_failed else "", end="")
        print(f"{mode}: {outcome.requests} requests, failed: {outcome.has_failed}, "
              f"a job passes afterwards: {is_well}")  # fmt: skip
    return failed


if __name__ == "__main__":
    sys.exit(main())
