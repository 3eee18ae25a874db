"""How a web process listens."""

import asyncio
import socket

import uvloop

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
