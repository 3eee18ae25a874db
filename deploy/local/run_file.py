"""`run.json` in var_dir: where a running `pixelmill up` is reached, and which processes it has."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from deploy.private_file import write_private

NAME = "run.json"


@dataclass(frozen=True)
class RunFile:
    """What `pixelmill up` writes while it runs, and removes when it ends."""

    url: str = ""
    """The address of the page; empty: nothing runs here."""
    own_url: str = ""
    """The address by which this host reaches it, whatever its public one is; empty: `url`."""
    flower_url: str | None = None
    s3_url: str | None = None
    api_key: str | None = None
    processes: dict[str, int] = field(default_factory=dict)
    """Name -> pid."""
    started: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Name -> pid and the start time of its process, which tells it from a stranger."""
    replaced: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Name -> how often the program was replaced because it did not respond, and why last."""
    supervisor: tuple[int, float] = (0, 0.0)
    """Pid and start time of `pixelmill up` itself."""

    @property
    def local_url(self) -> str:
        """The address by which this host reaches the page; empty: nothing runs here."""
        return self.own_url or self.url


def read(var_dir: Path) -> RunFile:
    """What is written in a var folder; an empty RunFile if there is none or it is damaged."""
    names = {known.name for known in fields(RunFile)}
    try:
        values = json.loads((var_dir / NAME).read_text())
        return RunFile(**{name: value for name, value in values.items() if name in names})
    except (OSError, ValueError, AttributeError):
        return RunFile()


def write(var_dir: Path, run: RunFile) -> None:
    """Write the file, for the user of this process alone. Raises OSError."""
    write_private(var_dir / NAME, json.dumps(asdict(run), indent=1))


def remove(var_dir: Path) -> None:
    """Remove the file, if there is one."""
    (var_dir / NAME).unlink(missing_ok=True)
