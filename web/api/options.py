"""What a request to predict asks for beside its picture: options, and parameters of the model.

They come in the query; a form or a JSON body may hold them as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import QueryParams

from storage.states import Priority
from tasks.errors import BadInput
from tasks.models.base import RESERVED
from web.api import option_fields, schemas
from web.api.routing import each_once
from web.jobs.submission import DEFAULT_OUTPUT, OUTPUTS
from web.text import sentence, shown

NAME = f"({'|'.join(OUTPUTS)})"


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
    lighter: bool
    """Whether something lighter may compute it while many people wait."""
    idempotency_key: str

    @property
    def outputs(self) -> Sequence[str]:
        """The names of what to make."""
        return tuple(self.output.split(",")) if self.output else DEFAULT_OUTPUT


class OptionFields(BaseModel):
    """The same as names and limits, of the query and of a body.

    Validated here and not by FastAPI, which takes longer for that than for all the rest of a hit.
    """

    wait: float = schemas.WAIT
    priority: Priority = "interactive"
    output: str = Field(
        default="",
        max_length=schemas.MAX_OUTPUT,
        description="Comma-separated names of what to make.",
        json_schema_extra={"pattern": f"^({NAME}(,{NAME})*)?$"},
    )
    keep: bool = option_fields.KEEP
    lighter: bool = option_fields.LIGHTER
    deadline_s: float | None = option_fields.DEADLINE
    url: str = Field(
        default="",
        description=schemas.URL_TEXT,
        json_schema_extra={"pattern": "^(https?://[!-~]+)?$"},
    )


DEFAULTS = Options(**OptionFields().model_dump(), idempotency_key="")


def of_query(query: QueryParams, idempotency_key: str) -> tuple[Options, dict[str, Any]]:
    """Options and parameters of the model in a query. Raises BadInput."""
    options = DEFAULTS._replace(idempotency_key=idempotency_key) if idempotency_key else DEFAULTS
    return _divided(options, dict(each_once(query)), "query") if query else (options, {})


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
    options, params = _divided(options, fields, "body")
    in_query = {name: value for name, value in query.items() if name not in RESERVED}
    return options, {**in_query, **params}


def _divided(
    options: Options, fields: Mapping[str, Any], place: str
) -> tuple[Options, dict[str, Any]]:
    params = {name: value for name, value in fields.items() if name not in RESERVED}
    asked = {name: _text(value) for name, value in fields.items() if name in RESERVED}
    return (options._replace(**_checked(asked, place)) if asked else options), params


def _text(value: Any) -> Any:
    """A list of names in JSON, as the query writes it."""
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return ",".join(value) if is_list else value


def _checked(asked: Mapping[str, Any], place: str) -> dict[str, Any]:
    try:
        return OptionFields.model_validate(asked).model_dump(include=set(asked))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = sentence(f"{place}.{where}: {first['msg']}")
        raise BadInput(text, code="bad_request", hint="See /docs.") from None
