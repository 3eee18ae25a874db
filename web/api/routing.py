"""Routes that read what their endpoints declare, without what FastAPI does for other endpoints."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.responses import Response

from tasks.errors import BadInput
from web.middleware.json_body import PARSED
from web.text import shown

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_ABSENT = object()


class ParsedRoute(APIRoute):
    """Calls an endpoint that returns a Response, with parameters of the path, the query and the
    head, and with the JSON body that the middleware has parsed.

    Errors are FastAPI's own. Its reading takes several times as long, as it also serves
    dependencies, forms, cookies, streams and answers of other types, which routes of this class
    cannot have: docs/benchmarks/chain-and-hits.md.
    """

    def get_route_handler(self) -> Handler:
        """What FastAPI's documentation tells to replace in order to read requests otherwise."""
        read, endpoint = _reader(self), self.endpoint

        async def handle(request: Request) -> Response:
            answer: Response = await endpoint(**read(request))
            return answer

        return handle


def each_once(query: QueryParams) -> Mapping[str, str]:
    """The fields of a query. Raises BadInput if one comes twice: nobody could tell which counts."""
    names = [name for name, _ in query.multi_items()]
    if len(names) > len(query):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(
            f"{shown(twice)} is more than once in the query",
            code="bad_params",
            hint="Send each parameter once.",
        )
    return query


def _reader(route: APIRoute) -> Callable[[Request], dict[str, Any]]:
    """What reads the arguments of a route's endpoint from a request. It raises
    RequestValidationError. TypeError if the endpoint declares what cannot be read here."""
    declared = route.dependant
    _check(route)
    in_path, in_query = declared.path_params, declared.query_params
    in_head = [(field, field.alias.lower().encode()) for field in declared.header_params]
    body, named = route.body_field, declared.request_param_name

    def read(request: Request) -> dict[str, Any]:
        scope, errors = request.scope, list[Any]()
        values: dict[str, Any] = {named: request} if named else {}
        for field in in_path:
            found = scope["path_params"].get(field.alias, _ABSENT)
            _add(values, errors, field, found, ("path", field.alias))
        if in_query:
            query = each_once(request.query_params) if scope["query_string"] else {}
            for field in in_query:
                found = query.get(field.alias, _ABSENT)
                _add(values, errors, field, found, ("query", field.alias))
        for field, alias in in_head:
            found = _header(scope["headers"], alias)
            _add(values, errors, field, found, ("header", field.alias))
        if body:
            _add(values, errors, body, scope.get(PARSED, _ABSENT), ("body",))
        if errors:
            raise RequestValidationError(errors)
        return values

    return read


def _check(route: APIRoute) -> None:
    declared = route.dependant
    is_list = any(
        get_origin(field.field_info.annotation) is list
        for field in (*declared.query_params, *declared.header_params)
    )
    is_other = declared.dependencies or declared.cookie_params or len(declared.body_params) > 1
    if is_list or is_other:
        raise TypeError(f"{route.path} declares what ParsedRoute does not read")


def _header(headers: Sequence[tuple[bytes, bytes]], alias: bytes) -> Any:
    for name, value in headers:
        if name == alias:
            return value.decode("latin-1")
    return _ABSENT


def _add(
    values: dict[str, Any], errors: list[Any], field: Any, found: Any, loc: tuple[str, ...]
) -> None:
    """Add the value of a field to the values, or what is wrong with it to the errors."""
    if found is not _ABSENT:
        value, wrong = field.validate(found, loc=loc)
        if not wrong:
            values[field.name] = value
        errors += wrong
    elif field.field_info.is_required():
        errors.append({"type": "missing", "loc": loc, "msg": "Field required", "input": None})
    else:
        values[field.name] = field.default
