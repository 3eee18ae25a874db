"""What a request to predict asks for beside its picture: options, and parameters of the model.

They come in the query; a form or a JSON body may hold them as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import QueryParams

from tasks.errors import BadInput
from tasks.message import Priority
from tasks.models.base import RESERVED
from web.api import schemas
from web.jobs.submission import DEFAULT_OUTPUT
from web.text import sentence, shown


class Options(NamedTuple):
    """How a request wants to be served."""

    wait: float
    """Seconds."""
    priority: Priority
    output: str
    """Comma-separated names; empty: the default."""
    keep: bool
    deadline_s: float | None
    url: str
    """Address of the picture, if it does not come with the request."""
    idempotency_key: str

    @property
    def outputs(self) -> Sequence[str]:
        """The names of what to make."""
        return tuple(self.output.split(",")) if self.output else DEFAULT_OUTPUT


class BodyOptions(BaseModel):
    """The same where a body holds them. Names and limits are those of the query."""

    wait: float = schemas.WAIT
    priority: Priority = "interactive"
    output: str = Field(default="", max_length=schemas.MAX_OUTPUT)
    keep: bool = schemas.KEEP
    deadline_s: float | None = schemas.DEADLINE
    url: str = ""


def params_of(query: QueryParams) -> dict[str, str]:
    """The model's parameters in a query."""
    return {name: value for name, value in query.items() if name not in RESERVED}


def merged(
    options: Options, query: QueryParams, fields: Mapping[str, Any]
) -> tuple[Options, dict[str, Any]]:
    """Options and parameters of a request whose body has fields. Raises BadInput."""
    if twice := sorted(set(fields) & set(query)):
        raise BadInput(
            f"{shown(twice[0])} is in the query and in the body",
            code="bad_params",
            hint="Send each parameter once.",
        )
    params = {name: value for name, value in fields.items() if name not in RESERVED}
    asked = {name: _text(value) for name, value in fields.items() if name in RESERVED}
    if asked:
        checked = _checked(asked).model_dump(include=set(asked))
        options = options._replace(**checked)
    return options, {**params_of(query), **params}


def _text(value: Any) -> Any:
    """A list of names in JSON, as the query writes it."""
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return ",".join(value) if is_list else value


def _checked(asked: Mapping[str, Any]) -> BodyOptions:
    try:
        return BodyOptions.model_validate(asked)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = sentence(f"body.{where}: {first['msg']}")
        raise BadInput(text, code="bad_request", hint="See /docs.") from None
