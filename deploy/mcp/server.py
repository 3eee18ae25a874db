"""The tools as a server of the Model Context Protocol, on standard input and output.

Only `pixelmill mcp` imports this: it needs the package `mcp` (the extra `mcp`).
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from deploy.client.api import Client, RunOptions
from deploy.client.parameters import merged
from deploy.client.server import Server
from deploy.mcp import tools
from tasks.errors import JobError

INSTRUCTIONS = """Runs image models of a Pixelmill server on photos of this machine or of the web:
cut subjects out, find faces, label photos. Pictures are saved as files, and their paths answered.
"""
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)

T = TypeVar("T")


def serve(server: Server, folder: Path) -> None:
    """Serve until standard input ends; pictures are written to this folder."""
    build(server, folder).run("stdio")


def build(server: Server, folder: Path) -> MCPServer[Any]:
    """The server with its tools."""
    mcp: MCPServer[Any] = MCPServer(
        "pixelmill",
        title="Pixelmill",
        instructions=INSTRUCTIONS,
        log_level="WARNING",  # httpx' lines would bring signed addresses into assistants' logs
    )

    @mcp.tool(annotations=READS)
    async def list_models() -> list[dict[str, Any]]:
        """List the image models: what each makes, and which parameters it takes."""
        return await _asked(server, tools.list_models)

    @mcp.tool(annotations=WRITES, structured_output=False)
    async def run_model(
        image: Annotated[str, Field(description="Path of a photo, or its https address.")],
        context: Context[Any, Any],
        model: Annotated[str, Field(description="Name of a model.")] = "matting",
        params: Annotated[
            dict[str, Any] | None, Field(description="The model's parameters, by name.")
        ] = None,
        output: Annotated[
            str,
            Field(description="Pictures to make, comma-separated: cutout, mask, alpha, preview."),
        ] = "",
    ) -> list[Any]:
        """Run a model on a photo: save the pictures that it makes, and answer their paths and its
        data as JSON, with a small preview.

        `matting` cuts the subject out; `facemask` finds faces; `classify` names what is shown.
        """

        def report(done: float, stage: str) -> None:
            anyio.from_thread.run(context.report_progress, done, 1.0, stage)

        def run(client: Client) -> tools.Done:
            options = RunOptions(model, merged([], _texts(params or {})), output.replace(" ", ""))
            return tools.run_model(client, folder, image, options, report)

        return _content(await _asked(server, run))

    return mcp


async def _asked(server: Server, ask: Callable[[Client], T]) -> T:
    """What `ask` returns, in a thread. A cancelled request stops its client, which cancels the job.

    Raises ToolError for what goes wrong, with the server's own sentence.
    """
    stopping = threading.Event()

    def work() -> T:
        with Client(server) as client:
            client.stopping = stopping
            return ask(client)

    try:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    except JobError as error:
        raise ToolError(f"{error} ({error.hint})" if error.hint else str(error)) from error
    except OSError as error:
        raise ToolError(f"the result cannot be written: {error.strerror}") from error
    finally:
        stopping.set()


def _content(done: tools.Done) -> list[Any]:
    if not done.preview:
        return [dict(done.answer)]
    picture = Image(data=done.preview, format=done.preview_type.partition("/")[2])
    return [dict(done.answer), picture]


def _texts(params: dict[str, Any]) -> dict[str, str]:
    """As a query writes them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
    }
