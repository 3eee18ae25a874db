"""How a web process starts and listens."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop
from stack import REPOSITORY

from web.__main__ import listeners

CLIENTS = 48


class Counted(asyncio.Protocol):
    """A connection that says in which turn of the loop it was taken."""

    turn, taken = 0, list[int]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.taken.append(Counted.turn)


def test_many_connections_are_taken_in_one_turn_of_the_loop() -> None:
    uvloop.run(_take_all())

    turns = Counted.taken[-1] - Counted.taken[0] + 1
    assert turns <= 6


async def _take_all() -> None:
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0), backlog=2 * CLIENTS)
    servers = [
        await loop.create_server(Counted, sock=listener) for listener in listeners(listening)
    ]
    clients = [socket.create_connection(listening.getsockname()) for _ in range(CLIENTS)]
    async with asyncio.timeout(10):
        while len(Counted.taken) < CLIENTS:
            Counted.turn += 1
            await asyncio.sleep(0)
    for closable in (*clients, *servers):
        closable.close()


@pytest.mark.parametrize("secret", ["", "changeme"])
def test_a_secret_that_could_be_guessed_is_refused(tmp_path: Path, secret: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PIXELMILL_SECRET": secret}

    ended = subprocess.run(
        [sys.executable, "-m", "web"], cwd=tmp_path, env=env, capture_output=True, text=True
    )

    assert ended.returncode == 1 and "PIXELMILL_SECRET has" in ended.stderr
    assert not secret or secret not in ended.stderr
