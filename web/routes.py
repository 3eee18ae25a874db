"""What the routes of the app would have answered: methods of a path, and paths like a wrong one."""

from difflib import SequenceMatcher

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from web.adapting import IS_HEAD

_PREFIX = "/api/v1"
_LONGEST = 100
"""Characters of a path that is compared with others, which takes 20 us for each of them."""
_ALIKE = 0.6
"""From this likeness on (0 to 1), a path may be what was meant."""
_NAMED = 2
"""How many paths are named."""


def method_of(request: Request) -> str:
    """The method that the client sent."""
    return "HEAD" if IS_HEAD in request.scope else request.method


def methods_at(request: Request) -> list[str]:
    """The methods that the request's path takes; none if there is nothing at it."""
    methods: set[str] = set()
    # A folder that was entered has left its own root in the scope.
    scope = {**request.scope, "root_path": request.scope.get("app_root_path", "")}
    for route in iter_route_contexts(request.app.routes):
        if route.matches(scope)[0] is not Match.NONE:
            methods |= route.methods or {"GET"}
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods | {"OPTIONS"}) if methods else []


def is_taken(app: FastAPI, scope: Scope) -> bool:
    """Whether there is something at a request's path that takes its method."""
    contexts = iter_route_contexts(app.routes)
    return any(route.matches(scope)[0] is Match.FULL for route in contexts)


def nearest(request: Request) -> list[str]:
    """The API's paths that are most like the request's, as `POST /api/v1/predict/{model}`."""
    path = _with_prefix(request.scope["path"])
    if len(path) > _LONGEST:
        return []
    methods: dict[str, set[str]] = {}
    for route in iter_route_contexts(request.app.routes):
        if route.path and route.path.startswith(_PREFIX):
            methods.setdefault(route.path, set()).update(route.methods or ())
    likeness = {template: _likeness(path, template) for template in methods}
    best = sorted(likeness, key=lambda template: -likeness[template])[:_NAMED]
    return [
        f"{' or '.join(sorted(methods[template]))} {template}"
        for template in best
        if likeness[template] >= _ALIKE
    ]


def _with_prefix(path: str) -> str:
    """The path, or what was meant by one whose prefix is missing in part or as a whole."""
    if path.startswith(f"{_PREFIX}/"):
        return path
    return f"{_PREFIX}/{path.removeprefix('/api').removeprefix('/v1').lstrip('/')}"


def _likeness(path: str, template: str) -> float:
    """How much a path is like one of the template's, from 0 to 1; 0 where it is not _ALIKE."""
    # Without what all of them have in common.
    start = len(_PREFIX)
    matcher = SequenceMatcher(None, path[start:], _filled(template, path)[start:])
    return matcher.ratio() if matcher.quick_ratio() >= _ALIKE else 0.0


def _filled(template: str, path: str) -> str:
    """The template with the names in braces replaced by what the path has in their places."""
    segments = path.split("/")
    parts = [
        segments[place] if part.startswith("{") and place < len(segments) else part
        for place, part in enumerate(template.split("/"))
    ]
    return "/".join(parts)
