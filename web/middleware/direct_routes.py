"""Calls the endpoints that are asked most directly, without the framework's layers.

Before a route's own code runs, FastAPI and Starlette pass a request through layers, most of which
wrap the answer's messages too, and match its path against each route in turn: more CPU than it
takes to read the request (docs/benchmarks/chain-and-hits.md). The routes stay declared in FastAPI,
which serves all other requests and all that these routes do not take, and the errors of an endpoint
are answered by the app's own handlers.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import getmro
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """Answers requests of some routes of a framework's app; all other requests are passed on."""

    def __init__(self, app: ASGIApp, framework: FastAPI, routes: Iterable[BaseRoute]) -> None:
        """`routes`: of class ParsedRoute, as FastAPI's own need its layers. An earlier one goes
        before a later one."""
        self.app, self._framework = app, framework
        self._routes: dict[str, list[tuple[re.Pattern[str], APIRoute, Handler]]] = {}
        """By method."""
        for route in routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                entry = (route.path_regex, route, route.get_route_handler())
                self._routes.setdefault(method, []).append(entry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        for pattern, route, handle in self._routes.get(scope.get("method", ""), ()):
            if match := pattern.match(scope["path"]):
                scope["app"], scope["route"] = self._framework, route  # as the framework does
                scope["path_params"] = match.groupdict()
                await self._answer(handle, Request(scope, receive), send)
                return
        await self.app(scope, receive, send)

    async def _answer(self, handle: Handler, request: Request, send: Send) -> None:
        try:
            answer = await handle(request)
        except Exception as error:
            handlers: Mapping[Any, Any] = self._framework.exception_handlers
            kind = next(kind for kind in getmro(type(error)) if kind in handlers)
            answer = await handlers[kind](request, error)
            await answer(request.scope, request.receive, send)
            if kind is Exception:
                raise  # to the server, as the framework does
        else:
            await answer(request.scope, request.receive, send)
