"""`python -m web`: one web process (see also `pixelmill web --help`)."""

import ctypes
import os
import signal
import socket
import sys
from functools import partial

import uvicorn

from tasks.clients import refuse_old_layout
from tasks.log import configure
from tasks.settings import settings
from web import hang
from web.connections.limits import ConnectionLimiter, limits_of
from web.connections.protocol import Connection

ACCEPTS = 16
"""Connections accepted per turn of the event loop."""
UNSENT_BYTES = 262_144
"""The kernel buffers so much of an answer, or up to twice as much, for a client that does not read.
Its default is 3 MB, which no limit of ours counts."""
SHORTEST_SECRET = 16
"""Characters."""
STARTUP_FAILED = 3
"""Exit status, the same as that of uvicorn's own command."""
_M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""
_LARGE_BLOCK_BYTES = 320 * 1024
"""More than the loop reads from a socket at once: those pieces stay on the heap. A buffer that
grows beyond this is copied once, which takes a third of a millisecond."""


def main() -> None:
    """Serve page and API on the host and port of the settings."""
    # Gradio reads these when it is imported: it must not send usage statistics.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # noqa: TID251 (written, not read)
    os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251 (as above)
    configure(settings().log_level)
    refuse_short_secret()
    refuse_old_layout("pixelmill web")
    give_large_blocks_back()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until the app handles it
    config = uvicorn.Config(
        "web.app:create",
        factory=True,
        host=settings().host,
        port=settings().port,
        loop="uvloop",
        http=partial(Connection, ConnectionLimiter(limits_of(settings()))),  # type: ignore[arg-type]  # makes one
        ws="none",  # unused, and its connections would escape our limits
        access_log=False,
        log_level=settings().log_level,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=settings().idle_timeout_s,  # type: ignore[arg-type]  # handed to call_later
        server_header=False,
        proxy_headers=False,  # nothing here trusts such headers
    )
    server = uvicorn.Server(config)
    hang.end_when_hung()
    server.run(listeners(config.bind_socket()))
    hang.stop()
    if not server.started:
        sys.exit(STARTUP_FAILED)


def refuse_short_secret() -> None:
    """End the process where anybody could guess what signs cookies and links."""
    length = len(settings().secret)
    if length < SHORTEST_SECRET:
        sys.exit(
            f"PIXELMILL_SECRET has {length} characters, and needs {SHORTEST_SECRET} or more: it "
            "signs cookies and links. Set it to the same random text on all hosts, for example to "
            "what `openssl rand -hex 32` prints; `pixelmill up` makes one by itself."
        )


def give_large_blocks_back() -> None:
    """Have each large block of memory return to the system when it is freed.

    After the first one is freed, glibc would take others of up to its size from a heap instead,
    which shrinks only at its end: photos long gone would count as memory of this process for hours.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # other C libraries than glibc do so anyway
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def listeners(listening: socket.socket) -> list[socket.socket]:
    """The same socket ACCEPTS times: uvloop accepts one connection per listener and turn.

    Turns are long under load. With one listener, connections came faster than they were accepted,
    and the kernel dropped some, which clients then retried after 1, 3 and 7 s.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)  # of those it accepts
    return [listening, *(listening.dup() for _ in range(ACCEPTS - 1))]


if __name__ == "__main__":
    main()
