"""`installation.json` in var_dir: passwords and ports that an installation keeps for its life."""

import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deploy.private_file import write_private
from tasks.settings import Settings

NAME = "installation.json"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Installation:
    """Made at the first start. `state` and `cache` are the two Redis."""

    secret: str
    """Key of cookies and cache keys."""
    state_password: str
    cache_password: str
    s3_key: str
    s3_secret: str
    admin_password: str
    api_key: str
    state_port: int
    cache_port: int
    s3_port: int
    flower_port: int

    @property
    def state_url(self) -> str:
        """Address of the state Redis, with its password."""
        return f"redis://:{self.state_password}@{LOOPBACK}:{self.state_port}/0"

    @property
    def cache_url(self) -> str:
        """Address of the cache Redis, with its password."""
        return f"redis://:{self.cache_password}@{LOOPBACK}:{self.cache_port}/0"

    @property
    def s3_url(self) -> str:
        """Address of the S3 server."""
        return f"http://{LOOPBACK}:{self.s3_port}"

    @property
    def flower_url(self) -> str:
        """Address of Flower."""
        return f"http://{LOOPBACK}:{self.flower_port}"


def load(var_dir: Path, report: Callable[[str], None]) -> Installation:
    """Read the installation, or make it. A port that is in use now is replaced, and reported."""
    file = var_dir / NAME
    before = Installation(**json.loads(file.read_text())) if file.exists() else None
    installation = _with_free_ports(before or _new(), report)
    if installation != before:  # not written without need: the disk may be full
        write_private(file, json.dumps(asdict(installation), indent=1))
    return installation


def environment(installation: Installation, settings: Settings) -> dict[str, str]:
    """The PIXELMILL_* variables of every program: the user's settings, and ours for the rest."""
    given = settings.model_fields_set
    own: dict[str, object] = {
        "state_url": installation.state_url,
        "cache_url": installation.cache_url,
        "s3_url": installation.s3_url,
        "s3_key": installation.s3_key,
        "s3_secret": installation.s3_secret,
        "secret": installation.secret,
    }
    if settings.task_events:
        own["flower_url"] = installation.flower_url
    if "s3_url" in given:  # the user's own S3 server does not know our key
        del own["s3_key"], own["s3_secret"]
    chosen = {name: getattr(settings, name) for name in given}
    # An absolute path, as `pixelmill worker` may be started in another folder later.
    values = {**own, **chosen, "var_dir": settings.var_dir.resolve()}
    return {f"PIXELMILL_{name.upper()}": _text(value) for name, value in values.items()}


def write_environment(var_dir: Path, env: dict[str, str]) -> None:
    """Write `env` in var_dir, from which other commands in this folder take their settings."""
    file = var_dir / "env"
    text = "".join(f"{name}={json.dumps(value)}\n" for name, value in env.items())
    if not file.exists() or file.read_text() != text:  # not written without need: see `load`
        write_private(file, text)


def free_ports(count: int) -> list[int]:
    """TCP ports on which nobody listens now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


def _new() -> Installation:
    state_port, cache_port, s3_port, flower_port = free_ports(4)
    return Installation(
        secret=secrets.token_hex(32),
        state_password=secrets.token_hex(16),
        cache_password=secrets.token_hex(16),
        s3_key=secrets.token_hex(8),
        s3_secret=secrets.token_hex(20),
        admin_password=secrets.token_urlsafe(12),
        api_key=f"pm_{secrets.token_urlsafe(32)}",
        state_port=state_port,
        cache_port=cache_port,
        s3_port=s3_port,
        flower_port=flower_port,
    )


def _with_free_ports(before: Installation, report: Callable[[str], None]) -> Installation:
    installation = before
    for name in ("state_port", "cache_port", "s3_port", "flower_port"):
        port = getattr(before, name)
        if not _is_free(port):
            [other] = free_ports(1)
            report(f"port {port} ({name}) is in use; using {other} instead")
            changed: dict[str, Any] = {name: other}
            installation = replace(installation, **changed)
    return installation


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
