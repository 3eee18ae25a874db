"""What travels in the queue: few bytes, ids only, and a version."""

import json
from typing import Any

import pytest

from storage.jobs.spec import VERSION, RunRef
from tasks.errors import BadInput, JobError, ModelFailure, Unavailable
from tasks.message import MAX_RUNS, error_record, is_newer, new_message, run_refs

REFS = [RunRef("a" * 64, 1), RunRef("b" * 64, 12)]


def test_a_message_gives_back_its_runs() -> None:
    assert run_refs(new_message("toy", "batch", REFS)) == REFS


def test_a_message_survives_json() -> None:
    sent = json.loads(json.dumps(new_message("toy", "batch", REFS)))

    assert run_refs(sent) == REFS


def test_a_message_of_a_newer_version_is_known_and_still_names_its_runs() -> None:
    """A worker that cannot do them releases them."""
    newer: Any = {**new_message("toy", "batch", REFS), "v": VERSION + 1, "new": "field"}

    assert is_newer(newer) and not is_newer(new_message("toy", "batch", REFS))
    assert run_refs(newer) == REFS


def test_the_fullest_message_stays_below_two_kilobytes() -> None:
    full = new_message("a_rather_long_name", "interactive", [RunRef("f" * 64, 99)] * MAX_RUNS)

    assert len(json.dumps(full)) < 2048


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadInput("no"), ("bad_input", 422)),
        (Unavailable("later"), ("unavailable", 503)),
        (ModelFailure("broke"), ("model_failure", 500)),
        (BadInput("big", code="too_large", status=413), ("too_large", 413)),
    ],
)
def test_an_error_says_code_and_status(error: JobError, expected: tuple[str, int]) -> None:
    record = error_record(error)

    assert (record["code"], record["status"]) == expected
    assert record["message"] == str(error)


def test_an_errors_hint_goes_with_it() -> None:
    assert error_record(BadInput("no", hint="Do this."))["hint"] == "Do this."
