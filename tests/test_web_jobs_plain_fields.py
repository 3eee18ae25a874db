"""Parameters of plain schemas are seen to suit them, never where jsonschema refuses them."""

import itertools
from typing import Any

import jsonschema
import pytest

from web.jobs.plain_fields import check_of

FIELDS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer", "minimum": 1, "maximum": 3},
    "choice": {"type": "integer", "enum": [1, 2]},
    "number": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 2},
    "text": {"type": "string", "pattern": "^a+$"},
    "word": {"type": "string", "enum": ["a", "b"], "x-lighter": "b"},
    "switch": {"type": "boolean", "default": False},
    "odd_choice": {"type": "integer", "enum": [True, 2]},
    "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "several": {"type": "array", "items": {"type": "integer"}},
    "multiple": {"type": "integer", "multipleOf": 2},
    "sized": {"type": "string", "maxLength": 1},
}
VALUES: list[Any] = [0, 1, 2, 3, 4, True, False, 0.0, 1.0, 1.5, 2.0, "", "a", "aa", "b", None, [1]]


def schema(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": fields}


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_seen_to_suit_a_field_is_valid(name: str) -> None:
    asked = schema(**{name: FIELDS[name]})
    suits, validator = check_of(asked), jsonschema.Draft202012Validator(asked)
    for value in VALUES:
        if suits({name: value}):
            assert validator.is_valid({name: value}), value


@pytest.mark.parametrize(
    ("name", "value"),
    [("integer", 2), ("choice", 1), ("number", 1.5), ("number", 1), ("text", "aa"),
     ("word", "b"), ("switch", True)],
)  # fmt: skip
def test_a_plain_value_is_seen_to_suit(name: str, value: Any) -> None:
    assert check_of(schema(**{name: FIELDS[name]}))({name: value})


def test_all_fields_must_suit() -> None:
    suits = check_of(schema(integer=FIELDS["integer"], word=FIELDS["word"]))
    seen = [suits({"integer": n, "word": w}) for n, w in itertools.product((1, 9), ("a", "z"))]
    assert seen == [True, False, False, False]


def test_a_required_field_must_be_there() -> None:
    suits = check_of({**schema(word=FIELDS["word"]), "required": ["word"]})
    assert (suits({}), suits({"word": "a"})) == (False, True)


def test_of_a_schema_with_other_keywords_nothing_is_seen() -> None:
    suits = check_of({**schema(word=FIELDS["word"]), "minProperties": 2})
    assert not suits({"word": "a"})
