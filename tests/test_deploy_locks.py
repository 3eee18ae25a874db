"""What is installed has the versions of constraints.txt, and every file of it a known hash."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("web", "worker", "main", "test", "bench", "docs")
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def pins(file: Path) -> dict[str, str]:
    return {name(package): version for package, version in PIN.findall(file.read_text())}


def lock(group: str) -> Path:
    return ROOT / "deploy" / "locks" / f"{group}.txt"


@pytest.mark.parametrize("group", LOCKS)
def test_every_package_has_hashes(group: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", lock(group).read_text(), flags=re.MULTILINE)

    bare = [entry for entry in entries if entry.strip() and "--hash=sha256:" not in entry]
    assert bare == []
    assert len(entries) > 90


def test_the_locks_have_the_versions_that_the_constraints_say() -> None:
    wanted, pinned = pins(ROOT / "constraints.txt"), pins(lock("bench")) | pins(lock("docs"))

    del wanted["torch"]
    assert {package: pinned.get(package) for package in wanted} == wanted


def test_each_lock_holds_the_one_before() -> None:
    web, worker, main, test, bench, docs = (pins(lock(group)).items() for group in LOCKS)

    assert web < worker < main < test < bench
    assert main < docs


def test_torch_of_which_there_are_many_builds_is_in_none() -> None:
    assert not [group for group in LOCKS if "torch" in pins(lock(group))]
