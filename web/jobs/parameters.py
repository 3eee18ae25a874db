"""Checks a request's parameters against a model's JSON schema, without importing the model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import jsonschema
import orjson

from tasks.errors import BadInput
from web.jobs.plain_fields import Check, check_of
from web.text import sentence, shown

_UPLOAD_ID = re.compile("[0-9a-f]{32}")
BOOLEANS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


def canonical(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters: defaults filled in, strings of a query converted to the schema's types.

    Raises BadInput that names the parameter, what is wrong, and which parameters there are.
    """
    try:
        # Most requests have equal parameters or none: cached, they cost no validation.
        text = _canonical(_interned(orjson.dumps(schema)), _compact(orjson.dumps(given)))
    except orjson.JSONEncodeError as error:
        raise _bad(sentence(f"a parameter is not valid JSON: {error}")) from error
    params: dict[str, Any] = orjson.loads(text)
    return params


def uploads(schema: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The ids of uploads that parameters name: those whose field of the schema is `x-upload`."""
    fields: Mapping[str, Any] = schema.get("properties", {})
    named = (str(params.get(name)) for name, field in fields.items() if field.get("x-upload"))
    return [value for value in named if _UPLOAD_ID.fullmatch(value)]


@lru_cache(maxsize=1024)
def _canonical(schema: bytes, given: bytes) -> bytes:
    form = _form(schema)
    fields, asked = form.fields, orjson.loads(given)
    if unknown := sorted(asked.keys() - fields.keys()):
        names = ", ".join(fields) or "none"
        raise _bad(f"unknown parameter {shown(unknown[0])}; this model's parameters: {names}")
    values = {name: _converted(fields[name], value) for name, value in asked.items()}
    given_or_default = form.defaults | values
    params = {name: _normalised(fields[name], value) for name, value in given_or_default.items()}
    if not form.surely_suits(params):
        error = jsonschema.exceptions.best_match(_validator(schema).iter_errors(params))
        if error is not None:
            raise _refusal(error, fields)
    return _compact(orjson.dumps(params))


@lru_cache(maxsize=256)
def _interned(schema: bytes) -> bytes:
    """One object for all equal texts: else each cached request would keep a copy of its own."""
    return schema


def _compact(text: bytes) -> bytes:
    """A copy without spare memory: each of orjson's texts takes 4 KB."""
    return bytes(memoryview(text))


def _bad(message: str, hint: str = "GET /api/v1/models describes each parameter.") -> BadInput:
    return BadInput(message, code="bad_params", hint=hint)


def _refusal(error: jsonschema.ValidationError, fields: Mapping[str, Any]) -> BadInput:
    """What is wrong with a parameter, and what it may be: patterns are for programs alone."""
    where = ".".join(str(part) for part in error.absolute_path)
    if not where:
        return _bad(sentence(error.message))
    what = error.message
    if error.validator == "pattern":
        what = f"{shown(str(error.instance))} is none of the texts that it may be"
    described = fields.get(str(error.absolute_path[0]), {}).get("description")
    message = sentence(f"parameter {where}: {what}")
    return _bad(message, f"{where}: {described}") if described else _bad(message)


def _converted(field: Mapping[str, Any], value: Any) -> Any:
    """A string of a query as the schema's type; unchanged where it cannot be converted."""
    if not isinstance(value, str):
        return value
    try:
        match field.get("type"):
            case "integer":
                return int(value)
            case "number":
                number = float(value)
                return number if isfinite(number) else value  # JSON has no infinity
            case "boolean":
                return BOOLEANS.get(value.lower(), value)
    except ValueError:
        pass
    return value


def _normalised(field: Mapping[str, Any], value: Any) -> Any:
    """Equal numbers in one form, since 1 and 1.0 must give one request key."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if field.get("type") == "integer" and value == int(value):
        return int(value)
    return float(value) if field.get("type") == "number" else value


@dataclass(frozen=True)
class _Form:
    """What is read of a schema once for all requests."""

    fields: Mapping[str, Any]
    defaults: dict[str, Any]
    surely_suits: Check


@lru_cache(maxsize=256)
def _form(schema: bytes) -> _Form:
    read: Mapping[str, Any] = orjson.loads(schema)
    fields = read.get("properties", {})
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return _Form(fields, defaults, check_of(read))


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    return jsonschema.Draft202012Validator(orjson.loads(schema))
