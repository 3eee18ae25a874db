"""Sees in a moment that parameters suit a plain schema. What it does not see, jsonschema checks.

The first request with new values would otherwise spend more on that check than on its claim.
"""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

ANNOTATIONS = frozenset({"title", "description", "default", "examples"})
"""Keywords that bound no value, as those do not that begin with `x-`."""
OF_OBJECT = ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}
"""Keywords of a schema whose fields can be looked at one by one."""
TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
}
BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, least: value >= least,
    "maximum": lambda value, most: value <= most,
    "exclusiveMinimum": lambda value, least: value > least,
    "exclusiveMaximum": lambda value, most: value < most,
    "enum": lambda value, allowed: value in allowed,
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
}
OF_NUMBERS = frozenset(BOUNDS) - {"pattern"}
BOUNDS_OF: Mapping[str, frozenset[str]] = {
    "integer": OF_NUMBERS,
    "number": OF_NUMBERS,
    "string": frozenset({"enum", "pattern"}),
}
"""Which of them say something of a value of this type."""

Check = Callable[[Mapping[str, Any]], bool]
"""Whether these parameters, which all have a field, surely suit the schema."""


def check_of(schema: Mapping[str, Any]) -> Check:
    """The check of one schema; one that sees nothing where the schema is not plain."""
    fields: Mapping[str, Any] = schema.get("properties", {})
    if not _has_only(schema, OF_OBJECT) or schema.get("type", "object") != "object":
        return lambda params: False
    required = frozenset(schema.get("required", ()))
    checks = {name: _field(field) for name, field in fields.items()}

    def suits(params: Mapping[str, Any]) -> bool:
        return params.keys() >= required and all(
            checks[name](value) for name, value in params.items()
        )

    return suits


def _field(field: Mapping[str, Any]) -> Callable[[Any], bool]:
    kind = str(field.get("type"))
    types, bounds_of_kind = TYPES.get(kind, ()), BOUNDS_OF.get(kind, frozenset())
    if not types or not _has_only(field, ANNOTATIONS | bounds_of_kind | {"type"}):
        return lambda value: False
    # By the type itself: True is an int too, and equal to 1.
    if any(type(allowed) not in types for allowed in field.get("enum", ())):
        return lambda value: False
    bounds = [(BOUNDS[name], limit) for name, limit in field.items() if name in BOUNDS]

    def suits(value: Any) -> bool:
        if type(value) not in types or (type(value) is float and not isfinite(value)):
            return False
        return all(bound(value, limit) for bound, limit in bounds)

    return suits


def _has_only(schema: Mapping[str, Any], known: frozenset[str]) -> bool:
    return all(name in known or name.startswith("x-") for name in schema)
