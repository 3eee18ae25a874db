"""docs/security.md answers for every requirement of OWASP ASVS 5.0, level 2, in its chapters."""

import re

import pytest
from pages import ROOT

ROW = re.compile(r"^\| `v5\.0\.0-(\d+\.\d+\.\d+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)
TEST = re.compile(r"`((?:browser/)?test_\w+\.py)::(test_\w+)`")
REASONS = ("Documented: ", "Does not apply: ", "Not done: ")
LEVEL_2 = {
    "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1,
    "3.2": 2, "3.3": 4, "3.4": 6, "3.5": 5, "3.7": 2,
    "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4,
    "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3,
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1,
    "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5,
}  # fmt: skip
"""Section -> how many requirements of levels 1 and 2 it has; they are numbered from 1."""
ROWS = {match[1]: match[3] for match in ROW.finditer((ROOT / "docs" / "security.md").read_text())}


def test_every_requirement_has_its_row() -> None:
    wanted = {f"{part}.{number + 1}" for part, most in LEVEL_2.items() for number in range(most)}

    assert wanted == set(ROWS)


@pytest.mark.parametrize("requirement", ROWS)
def test_each_row_names_tests_that_exist_or_a_reason(requirement: str) -> None:
    answer = ROWS[requirement]

    tests = TEST.findall(answer)

    assert tests or answer.startswith(REASONS), answer
    for file, name in tests:
        code = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^(?:async )?def {name}\(", code, re.MULTILINE), f"{file}::{name}"
