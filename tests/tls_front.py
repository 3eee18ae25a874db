"""TLS in front of a server that speaks none, for tests, by an authority of their own."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class TlsFront:
    """Passes what comes by TLS to a port of this machine."""

    def __init__(self, port: int, folder: Path) -> None:
        self._to = port
        self._clients: list[socket.socket] = []
        self._authority = trustme.CA()
        self.ca_file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.renew()
        threading.Thread(target=self._serve, daemon=True).start()

    def renew(self, days: float = 90) -> None:
        """Start again with another certificate, which ends after so many days."""
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = ends - timedelta(days=365)
        shown = self._authority.issue_cert("127.0.0.1", not_before=begins, not_after=ends)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        shown.configure_cert(self._context)
        self._drop_clients()

    def close(self) -> None:
        self._listening.close()
        self._drop_clients()

    def _drop_clients(self) -> None:
        while self._clients:
            with self._clients.pop() as client, suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError):  # until it is closed
            while True:
                client, _ = self._listening.accept()
                self._clients.append(client.dup())
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            self._context.wrap_socket(client, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", self._to)) as server,
        ):
            back = threading.Thread(target=_copy, args=(server, secured), daemon=True)
            back.start()
            _copy(secured, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def tls_front(port: int, folder: Path) -> Iterator[TlsFront]:
    """One that is closed in the end."""
    front = TlsFront(port, folder)
    try:
        yield front
    finally:
        front.close()
