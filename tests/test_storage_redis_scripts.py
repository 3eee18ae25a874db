"""How scripts are put together, and what their arguments become."""

import json
import re
from pathlib import Path

import pytest
import redis
from stack import REPOSITORY

from storage import keys, states
from storage.jobs.spec import RunRef
from storage.redis import scripts

pytest_plugins = ["inprocess"]

FOLDER = REPOSITORY / "storage"
SCRIPTS = sorted(
    str(path.relative_to(FOLDER)).removesuffix(".lua")
    for path in FOLDER.rglob("*.lua")
    if path.parent.name != "shared_lua"
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_redis_takes_every_script(name: str, state: "redis.Redis") -> None:
    text, sha = scripts.source(name)

    assert state.script_load(text) == sha


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.lua")), ids=lambda path: path.stem)
def test_arguments_are_known_by_name_alone(path: Path) -> None:
    text = path.read_text()

    if path.stem != "arguments":
        assert "ARGV" not in text
    assert not re.search(r"KEYS\[\d", text), "name them: local user_runs, job = unpack(KEYS)"
    assert text.startswith("--"), "it says what it is for"


def test_each_piece_stands_before_a_script_once() -> None:
    text, _ = scripts.source("jobs/begin_stage")

    assert text.count("local function read(") == text.count("local function end_run(") == 1


def test_constants_are_those_of_python() -> None:
    text, _ = scripts.source("jobs/find_lost")

    assert f"local ACTIVE = '{keys.ACTIVE}'\n" in text
    assert "local PRIORITY_SUFFIXES = {'', '\\006\\0223', '\\006\\0226', '\\006\\0229'}\n" in text
    assert "BUCKETS_MS" not in text, "only what is used"
    assert all(f"{state} = true" in text for state in states.END_STATES)


def test_a_constant_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "_parts", lambda name: ["return NOWHERE -- ELSEWHERE\n"])

    with pytest.raises(LookupError, match="mentions NOWHERE, which is no constant"):
        scripts.source("jobs/unknown")


def test_dataclasses_become_tables_and_bytes_travel_as_they_are(state: "redis.Redis") -> None:
    words = scripts.arguments({"runs": [RunRef("a", 2)], "text": b'{"long":"text"}', "n": 1})
    shown = "return {arguments.runs[1].key, arguments.runs[1].attempt, arguments.text, arguments.n}"

    answer = state.eval("".join(scripts._parts("shared_lua/arguments")) + shown, 0, *words)

    assert answer == ["a", 2, '{"long":"text"}', 1]
    assert "long" not in json.dumps(json.loads(words[0]))


def test_an_inserted_piece_brings_what_it_needs_and_nothing_twice() -> None:
    text, _ = scripts.source("jobs/begin_stage")

    assert text.count("local function end_run(") == text.count("local function publish(") == 1
    assert text.index("local function load_ending(") < text.index("local BUCKETS_MS =")
    assert text.count("local RUN =") == 1
