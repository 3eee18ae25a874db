"""What the OpenAPI document says of the bodies and answers of predict."""

from typing import Any

from web.api import schemas
from web.api.accept import FORMATS
from web.api.options import OptionFields
from web.api.received import PICTURE_NAMES
from web.jobs.uploads import MEDIA_TYPES
from web.rate_limit import LIMITED

_EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGklEQVR42mM8UaHBQApgYiARjGoY1TB0NAAAgJwBiHEH"
    "VqAAAAAASUVORK5CYII="
)
"""An orange square of 16 x 16 pixels."""
_BINARY = {"type": "string", "format": "binary"}
_FIELDS = {"description": "Any other field is an option or a parameter, as in the query."}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {**_BINARY, "description": "The photo; any name will do."}},
        "additionalProperties": {"type": "string", **_FIELDS},
    },
    "encoding": {"image": {"contentType": ", ".join(MEDIA_TYPES)}},
}
_JSON = {
    "schema": {
        "type": "object",
        "properties": {
            "image": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "The photo as base64 or as a data URL. Other names for it: "
                + ", ".join(sorted(PICTURE_NAMES - {"image"})),
            },
            "url": {"type": "string", "description": schemas.URL_TEXT},
            "filename": {"type": "string"},
            "params": {"type": "object", "description": "Parameters of the model."},
        },
        "additionalProperties": _FIELDS,
    },
    "example": {"image": f"data:image/png;base64,{_EXAMPLE}"},
}
_RAW = {
    kind: {"schema": _BINARY} for kind in (*MEDIA_TYPES, "application/octet-stream")
}  # fmt: skip


def _in_query(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option. A query has no null: an option that may be null is left out."""
    schema = {key: value for key, value in field.items() if key not in ("description", "anyOf")}
    kinds = field.get("anyOf", [{}])
    return {**schema, **next(kind for kind in kinds if kind.get("type") != "null")}


_OPTIONS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "schema": _in_query(field),
        "description": field.get("description", ""),
    }
    for name, field in OptionFields.model_json_schema()["properties"].items()
]
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": schemas.MAX_KEY, "pattern": schemas.KEY_PATTERN},
    "description": schemas.KEY_TEXT,
}
BODY: dict[str, Any] = {
    "parameters": [*_OPTIONS, _KEY],
    "requestBody": {
        "required": False,
        "description": "The photo: its bytes, a form with it as a file, or JSON with base64. Not "
        "sent if the query has its `url`.",
        "content": {**_RAW, "multipart/form-data": _FORM, "application/json": _JSON},
    },
}
NAMED_FILE: dict[str, Any] = {
    **BODY,
    "parameters": [
        *BODY["parameters"],
        {
            "name": "filename",
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": "What the client calls the file; `curl -T photo.jpg` adds it to a path "
            "that ends in a slash.",
        },
    ],
}
_PICTURE_HEADERS = {
    "Server-Timing": {
        "description": "Milliseconds of each stage, or `cache` for a known result.",
        "schema": {"type": "string"},
        "example": "queued;dur=3.1, preprocess;dur=21.4, inference;dur=80.0, postprocess;dur=38.2",
    },
    "X-Pixelmill-Job": {"description": "The job's id.", "schema": {"type": "string"}},
    "X-Pixelmill-Notes": {
        "description": "Codes of the result's notes, if there are any.",
        "schema": {"type": "string"},
    },
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    **schemas.JOB,
    200: {
        "model": schemas.Job,
        "description": "The job has ended; or the picture, if `Accept` asks for one.",
        "content": {kind: {"schema": _BINARY} for kind in FORMATS},
        "headers": {**_PICTURE_HEADERS, **LIMITED["headers"]},
    },
    202: {
        "model": schemas.Job,
        "description": "The job is under way; `Location` is where it can be asked for.",
        "headers": {"Location": {"schema": {"type": "string"}}, **LIMITED["headers"]},
    },
    406: {"model": schemas.Failure, "description": "There is no picture of the type in `Accept`."},
}
