"""The command `pixelmill mcp`; imports what it needs when it is called."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.client.command import Key, Url
from tasks.errors import BadInput


def mcp(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "~/pixelmill"
    ),
    url: Url = "",
    key: Key = "",
) -> None:
    r"""Offer a server's models to an assistant (Model Context Protocol, on standard input).

    The assistant starts this command itself. It needs `pip install "pixelmill\[mcp]"`.
    """
    from importlib.util import find_spec

    from deploy.client.server import find_server

    if find_spec("mcp") is None:
        raise BadInput("the package mcp is not installed", hint='Run: pip install "pixelmill[mcp]"')
    from deploy.mcp.server import serve

    serve(find_server(url, key), out.expanduser())
