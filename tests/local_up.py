"""A running `pixelmill up`, for tests."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import log_search
from stack import REPOSITORY

_count = itertools.count()


class Up:
    """A running `pixelmill up`."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        program: Path = Path(sys.executable).parent / "pixelmill",
    ) -> None:
        self.folder = folder
        env = {
            "PYTHONPATH": str(REPOSITORY),
            **{name: value for name, value in os.environ.items() if "PIXELMILL" not in name},
            "PIXELMILL_WEIGHTS_DIR": os.environ["PIXELMILL_WEIGHTS_DIR"],
            "PIXELMILL_MODELS": "matting",
            "C_FORCE_ROOT": "1",
            **(env or {}),
        }
        command = [str(program), "up", *options]
        self.out = open(folder / "out.log", "wb")  # noqa: SIM115 (closed by stop)
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=self.out, stderr=subprocess.STDOUT
        )

    @property
    def said(self) -> str:
        return (self.folder / "out.log").read_text()

    @property
    def run(self) -> dict[str, object]:
        return dict(json.loads((self.folder / "var" / "run.json").read_text()))

    @property
    def pids(self) -> dict[str, int]:
        return self.run["processes"]  # type: ignore[return-value]

    @property
    def password(self) -> str:
        return str(
            json.loads((self.folder / "var" / "installation.json").read_text())["admin_password"]
        )

    def wait_until_ready(self) -> None:
        end = time.monotonic() + 120
        while "is ready" not in self.said:
            assert self.process.poll() is None and time.monotonic() < end, self.said
            time.sleep(0.1)

    def predict(self) -> httpx.Response:
        photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes() + str(next(_count)).encode()
        key = {"Authorization": f"Bearer {self.run['api_key']}"}
        url = f"{self.run['url']}/api/v1/predict/matting?wait=30"
        return httpx.post(url, content=photo, headers=key, timeout=40)

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(40)
        self.out.close()
        self.check_logs()
        return code

    def check_logs(self) -> None:
        """Raises AssertionError if a log, or what it printed, gives a secret away."""
        known = json.loads((self.folder / "var" / "installation.json").read_text())
        secrets = [value for value in known.values() if isinstance(value, str)]
        told = log_search.found(self.folder, {}, secrets)
        assert not told, "\n".join(told)
