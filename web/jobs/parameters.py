"""Checks a request's parameters against a model's JSON schema, without importing the model."""

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

import jsonschema
import orjson

from tasks.errors import BadInput
from web.text import sentence, shown

WORDS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


def canonical(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters with their defaults filled in, strings of a query read as what they stand for.

    Raises BadInput naming the parameter, what is wrong and what there is.
    """
    try:
        # Most requests say the same or nothing: remembered, they cost no validation.
        found = _canonical(_same(orjson.dumps(schema)), _tight(orjson.dumps(given)))
    except orjson.JSONEncodeError as error:
        raise _bad(sentence(f"a parameter is no JSON: {error}")) from error
    params: dict[str, Any] = orjson.loads(found)
    return params


@lru_cache(maxsize=1024)
def _canonical(schema: bytes, given: bytes) -> bytes:
    fields: Mapping[str, Any] = orjson.loads(schema).get("properties", {})
    wanted: Mapping[str, Any] = orjson.loads(given)
    unknown = sorted(set(wanted) - set(fields))
    if unknown:
        there = ", ".join(fields) or "none"
        raise _bad(f"unknown parameter {shown(unknown[0])}; this model's parameters: {there}")
    asked = {name: _read(fields[name], value) for name, value in wanted.items()}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    params = {name: _plain(fields[name], value) for name, value in (defaults | asked).items()}
    error = jsonschema.exceptions.best_match(_validator(schema).iter_errors(params))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path)
        raise _bad(sentence(f"parameter {where}: {error.message}" if where else error.message))
    return _tight(orjson.dumps(params))


@lru_cache(maxsize=256)
def _same(schema: bytes) -> bytes:
    """The first of all equal ones: else each request that is remembered keeps a copy of its own."""
    return schema


def _tight(text: bytes) -> bytes:
    """The same in as many bytes as it has: each of orjson's texts keeps 4 KB."""
    return bytes(memoryview(text))


def _bad(message: str) -> BadInput:
    return BadInput(message, code="bad_params", hint="See /api/v1/models for what each may be.")


def _read(field: Mapping[str, Any], value: Any) -> Any:
    """A query's string as the schema's type; left alone where it does not fit."""
    if not isinstance(value, str):
        return value
    try:
        match field.get("type"):
            case "integer":
                return int(value)
            case "number":
                number = float(value)
                return number if isfinite(number) else value  # JSON has no word for it
            case "boolean":
                return WORDS.get(value.lower(), value)
    except ValueError:
        pass
    return value


def _plain(field: Mapping[str, Any], value: Any) -> Any:
    """1 and 1.0 are one number, and so one cache key."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if field.get("type") == "integer" and value == int(value):
        return int(value)
    return float(value) if field.get("type") == "number" else value


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    return jsonschema.Draft202012Validator(orjson.loads(schema))
