"""What a shell completes on the command line of `pixelmill run`: models, parameters, values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a shell waits: nothing is imported that may not be needed
    from deploy.client.answers import Model

ANSWER_S = 1.0
"""How long the server may take: a shell waits for it."""


def models(url: str, key: str) -> list[tuple[str, str]]:
    """Names and titles of the models that are served; none if no server answers soon."""
    return [(model["name"], model["title"]) for model in _served(url, key)]


def parameters(url: str, key: str, model: str, begun: str) -> list[str]:
    """`name=` of each parameter of the model, or `name=value` if the values can be listed."""
    for card in _served(url, key):
        if card["name"] == (model or "matting"):
            fields = card["params"].get("properties", {})
            return [word for name, field in fields.items() for word in _words(name, field, begun)]
    return []


def outputs(begun: str) -> list[str]:
    """The names of pictures, after those that are named already."""
    before, comma, _ = begun.rpartition(",")
    named = before.split(",")
    known = ("alpha", "mask", "cutout", "preview")
    return [f"{before}{comma}{name}" for name in known if name not in named]


def _words(name: str, field: Mapping[str, Any], begun: str) -> Iterator[str]:
    values: Sequence[object] = field.get("enum") or []
    if field.get("type") == "boolean":
        values = ["true", "false"]
    if not begun.startswith(f"{name}=") or not values:
        yield f"{name}="
        return
    yield from (f"{name}={value}" for value in values)


def _served(url: str, key: str) -> "list[Model]":
    from deploy.client.api import Client
    from deploy.client.server import find_server
    from tasks.errors import JobError

    try:
        with Client(find_server(url, key)) as server:
            return server.models(timeout_s=ANSWER_S)
    except JobError:
        return []
