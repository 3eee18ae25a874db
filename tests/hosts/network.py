"""Hosts of one machine: namespaces with a network, a name and a /dev/shm of their own.

They are on one bridge, which this process reaches too, as somebody outside all of them. It needs
root, `ip`, `unshare` and `nsenter`. What is made here is gone when the block ends.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

SUBNET = "10.77.{}"
PREPARE = "hostname {} && mount -t tmpfs -o size=256m tmpfs /dev/shm && exec sleep infinity"
HOLD_S = 5


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


class Host:
    """One host: processes are started in it, its link goes down and up."""

    def __init__(self, name: str, address: str, bridge: str, number: int) -> None:
        self.name, self.address = name, address
        self._link = f"{bridge}h{number}"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "--ipc", "sh", "-c", PREPARE.format(name)]
        )
        self._enter = ["nsenter", "-t", str(self._holder.pid), "-n", "-u", "-m", "-i", "--"]
        self._wait()
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0",
            "netns", str(self._holder.pid))  # fmt: skip
        run("ip", "link", "set", self._link, "master", bridge, "up")
        for command in ("ip link set lo up", "ip link set eth0 up"):
            run(*self._enter, *command.split())
        run(*self._enter, "ip", "addr", "add", f"{address}/24", "dev", "eth0")

    def _wait(self) -> None:
        """Until the holder is in its own namespaces."""
        end = time.monotonic() + HOLD_S
        own = os.readlink("/proc/self/ns/net")
        children = Path(f"/proc/{self._holder.pid}/comm")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == own or (
            children.read_text().strip() != "sleep"
        ):
            if time.monotonic() > end:
                raise TimeoutError(f"no namespaces for {self.name}")
            time.sleep(0.01)

    def start(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path
    ) -> "subprocess.Popen[bytes]":
        """A process in this host, in a session of its own."""
        with open(log, "ab") as file:
            return subprocess.Popen(
                [*self._enter, *command],
                cwd=folder,
                env=dict(env),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def set_link(self, state: str) -> None:
        """`down` pulls its cable, `up` plugs it in again."""
        run("ip", "link", "set", self._link, state)

    def end(self) -> None:
        """The namespaces go with the last process in them."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()


class Network:
    """A bridge and the hosts on it."""

    def __init__(self) -> None:
        number = os.getpid() % 250
        self._bridge = f"pm{number}"
        self._subnet = SUBNET.format(number)
        self._hosts: dict[str, Host] = {}
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        run("ip", "link", "add", self._bridge, "type", "bridge")
        self._ends.callback(run, "ip", "link", "del", self._bridge)
        run("ip", "addr", "add", f"{self._subnet}.1/24", "dev", self._bridge)
        run("ip", "link", "set", self._bridge, "up")
        return self

    def add(self, name: str) -> Host:
        """A new host on the bridge."""
        number = len(self._hosts) + 2
        host = Host(name, self.address(number), self._bridge, number)
        self._ends.callback(host.end)
        self._hosts[name] = host
        return host

    def address(self, number: int) -> str:
        """The address of the host that is added as the (number - 1)th."""
        return f"{self._subnet}.{number}"

    def __exit__(self, *error: object) -> None:
        self._ends.close()
