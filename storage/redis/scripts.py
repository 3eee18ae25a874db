"""Puts Lua scripts together, as Redis knows no modules, and their arguments.

A script is a file below storage/. Before it stand `arguments.lua`, the pieces of storage/shared_lua
that its first line needs, and the constants that any of them mentions. Where most calls of a script
do without a piece, the line `-- Insert <piece>.` puts it further down, or inside a function: making
the functions of a piece takes as long as a few commands.
"""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import orjson

from storage import backlog_keys, keys, quota_keys, quota_kinds, states

_NEEDS = re.compile(r"-- Needs ((?:\w+(?:, )?)+)\.\n")
_INSERT = re.compile(r"-- Insert (\w+)\.\n")
_NO_CODE = re.compile(r"--[^\n]*|'[^'\n]*'")
_NAME = re.compile(r"\b[A-Z][A-Z_]+\b")
_LOCALS = re.compile(r"\blocal ([\w, ]+?) =")
_OF_REDIS = frozenset({"KEYS", "ARGV"})

CONSTANTS: Mapping[str, Any] = {
    "ACTIVE": keys.ACTIVE,
    "CANCELLED": keys.CANCELLED,
    "DEADLINES": keys.DEADLINES,
    "CREDITS": backlog_keys.CREDITS,
    "EVENTS_OF_SEVERAL": keys.EVENTS_OF_SEVERAL,
    "ERASURE_LOCK": keys.ERASURE_LOCK,
    "HISTORIES": keys.HISTORIES,
    "KEEP_ALIVES": keys.KEEP_ALIVES,
    "MODELS": keys.MODELS,
    "PILOT": keys.PILOT,
    "PILOT_LEADER": keys.PILOT_LEADER,
    "PILOT_LOG": keys.PILOT_LOG,
    "REAPER_LOCK": keys.REAPER_LOCK,
    "SEEN": keys.SEEN,
    "TICKET_COUNT": backlog_keys.TICKET_COUNT,
    "UNNEEDED_UPLOADS": keys.UNNEEDED_UPLOADS,
    "VIRTUAL_TIMES": backlog_keys.VIRTUAL_TIMES,
    "WORKERS": keys.WORKERS,
    # Beginnings of keys.
    "API_KEY": keys.API_KEY_PREFIX,
    "BACKLOG": backlog_keys.BACKLOG_PREFIX,
    "BROKER": keys.BROKER_PREFIX,
    "FINISH_TAGS": backlog_keys.FINISH_TAGS_PREFIX,
    "JOB": keys.JOB_PREFIX,
    "MEAN_STAGE_MS": keys.MEAN_STAGE_MS_PREFIX,
    "METRICS": keys.METRICS_PREFIX,
    "MODEL": keys.MODEL_PREFIX,
    "MODEL_VERSIONS": keys.MODEL_VERSIONS_PREFIX,
    "POSITIONS": keys.POSITIONS_PREFIX,
    "QUOTA": quota_keys.QUOTA_PREFIX,
    "RESULT_JOBS": keys.RESULT_JOBS_PREFIX,
    "RUN": keys.RUN_PREFIX,
    "RUN_EVENTS": keys.RUN_EVENTS_PREFIX,
    "RUN_JOBS": keys.RUN_JOBS_PREFIX,
    "SHARE": keys.SHARE_PREFIX,
    "TAKEN": backlog_keys.TAKEN_PREFIX,
    "TICKET_RUNS": backlog_keys.TICKET_RUNS_PREFIX,
    "TURNS": backlog_keys.TURNS_PREFIX,
    "STORED": quota_keys.STORED_PREFIX,
    "UPLOAD": keys.UPLOAD_PREFIX,
    "UPLOAD_JOBS": keys.UPLOAD_JOBS_PREFIX,
    "UPLOAD_OF": keys.UPLOAD_OF_PREFIX,
    "USAGE": quota_keys.USAGE_PREFIX,
    "USER": keys.USER_PREFIX,
    "USER_JOBS": keys.USER_JOBS_PREFIX,
    "USER_RUNS": keys.USER_RUNS_PREFIX,
    "WAITING": keys.WAITING_PREFIX,
    "WORKER": keys.WORKER_PREFIX,
    # Words of records.
    "BUCKETS_MS": states.BUCKETS_MS,
    "CPU_STAGES": states.CPU_STAGES,
    "JOB_BUCKETS_MS": states.JOB_BUCKETS_MS,
    "ENDED": dict.fromkeys(states.END_STATES, True),
    "PRIORITY_SUFFIXES": [keys.priority_suffix(step) for step in keys.CELERY_PRIORITIES],
    "QUOTAS": quota_kinds.NAMES,
    "STAGES": states.STAGES,
    "STORED_GRAINS": quota_kinds.GRAINS,
    "TIMED_STAGES": states.TIMED_STAGES,
    "WINDOWS_MS": quota_kinds.WINDOWS_MS,
    "WINDOW_QUOTAS": quota_kinds.WINDOW_QUOTAS,
}
"""What Lua knows by these names."""


@cache
def source(name: str) -> tuple[str, str]:
    """The whole text of the script storage/`name`.lua, and its SHA-1.

    LookupError if it mentions a constant that is neither its own nor in CONSTANTS.
    """
    code = "".join(_parts("shared_lua/arguments") + _parts(name))
    inserted = {match[0]: _inserted(match[1], code) for match in _INSERT.finditer(code)}
    text = _constants(name, code) + code
    for line, lines in inserted.items():
        text = text.replace(line, _constants(name, lines, around=code) + lines)
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def arguments(values: Mapping[str, Any]) -> list[bytes]:
    """The words that become the table `arguments` of a script, by shared_lua/arguments.lua.

    Dataclasses become tables. Values of type bytes travel as they are: a long text costs less so
    than as a string of JSON, and a script decodes it only if it needs to.
    """
    raw = [name for name, value in values.items() if type(value) is bytes]
    if not raw:
        return [orjson.dumps(values)]
    others = dict(values)
    words = [others.pop(name) for name in raw]
    return [orjson.dumps({**others, "raw": raw}), *words]


def _parts(name: str) -> list[str]:
    """The text of a file, after those of the pieces that it needs; each once."""
    text = files("storage").joinpath(f"{name}.lua").read_text()
    match = _NEEDS.match(text)
    needed = match[1].split(", ") if match else []
    texts = [part for piece in needed for part in _parts(f"shared_lua/{piece}")]
    return list(dict.fromkeys([*texts, text]))


def _inserted(piece: str, code: str) -> str:
    """The text of a piece and of what it needs, without what stands in the code already."""
    return "".join(part for part in _parts(f"shared_lua/{piece}") if part not in code)


def _constants(name: str, code: str, around: str = "") -> str:
    """What the code mentions, as locals; `around` it stands code that has its own."""
    names = _names(code) - _names(around)
    own = {word for words in _LOCALS.findall(code) for word in words.split(", ")}
    if unknown := names - own - CONSTANTS.keys():
        raise LookupError(f"{name}.lua mentions {', '.join(sorted(unknown))}, which is no constant")
    used = sorted(names & CONSTANTS.keys())
    return "".join(f"local {constant} = {_literal(CONSTANTS[constant])}\n" for constant in used)


def _names(code: str) -> set[str]:
    return set(_NAME.findall(_NO_CODE.sub("", code))) - _OF_REDIS


def _literal(value: Any) -> str:
    """A constant in Lua."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return "'" + "".join(c if c.isprintable() else f"\\{ord(c):03}" for c in value) + "'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_literal(item)}" for name, item in value.items()) + "}"
    return "{" + ", ".join(map(_literal, value)) + "}"
