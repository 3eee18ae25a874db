"""`python -m web`: one web process (see also `pixelmill web --help`)."""

import os
import signal
import socket
import sys
from functools import partial

import uvicorn

from tasks.clients import refuse_old_layout
from tasks.log import configure
from tasks.settings import settings
from web.connections.limits import ConnectionLimiter, limits_of
from web.connections.protocol import Connection

ACCEPTS = 16
"""Connections that are taken in one turn of the loop."""
UNSENT_BYTES = 262_144
"""The kernel keeps so much of an answer for a client that does not read (and at most twice that);
by itself it takes 3 MB, which nobody counts."""
STARTUP_FAILED = 3
"""Exit status, as of uvicorn's own command."""


def main() -> None:
    """Serve page and API on the host and port of the settings."""
    # Gradio reads these when it is imported; its calls home are never wanted.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # noqa: TID251 (written, not read)
    os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251 (as above)
    configure(settings().log_level)
    refuse_old_layout("pixelmill web")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until the app listens to it
    config = uvicorn.Config(
        "web.app:create",
        factory=True,
        host=settings().host,
        port=settings().port,
        loop="uvloop",
        http=partial(Connection, ConnectionLimiter(limits_of(settings()))),  # type: ignore[arg-type]  # makes one
        ws="none",  # nothing here speaks it, and its connections would escape our limits
        access_log=False,
        log_level=settings().log_level,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=settings().idle_timeout_s,  # type: ignore[arg-type]  # handed to call_later
        server_header=False,
        proxy_headers=False,  # nothing is decided by who says it forwarded what
    )
    server = uvicorn.Server(config)
    server.run(listeners(config.bind_socket()))
    if not server.started:
        sys.exit(STARTUP_FAILED)


def listeners(listening: socket.socket) -> list[socket.socket]:
    """The same socket ACCEPTS times: uvloop takes one connection per listener and turn of its loop.

    Turns are long when there is much to do. Connections then came faster than they were taken,
    until the kernel dropped some, to be asked for again after 1, 3 and 7 s.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)  # of those it accepts
    return [listening, *(listening.dup() for _ in range(ACCEPTS - 1))]


if __name__ == "__main__":
    main()
