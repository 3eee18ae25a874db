"""Requests that schemathesis makes from the OpenAPI document, and what is wrong with the answers.

It sends what the document allows and what it forbids, follows its links, and compares status, type,
headers and body of each answer with the document. tests/fuzz/ says how pictures are made, and what
no document can say.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from stack import REPOSITORY, Stack

from storage import api_keys
from storage.redis import calls

FOLDER = REPOSITORY / "tests" / "fuzz"
KEY = "key-of-the-fuzzer"


@dataclass(frozen=True)
class Mode:
    """How users are known."""

    settings: Mapping[str, str]
    """Of the web process."""
    header: str = f"Authorization: Bearer {KEY}"
    """By which the requests are known."""
    options: tuple[str, ...] = ()
    """Of `schemathesis run`."""


MODES: Mapping[str, Mode] = {
    "open": Mode({}),
    "accounts": Mode({"PIXELMILL_AUTH": "accounts"}),
    "oidc": Mode(
        {
            "PIXELMILL_AUTH": "oidc",
            "PIXELMILL_OIDC_ISSUER": "http://127.0.0.1:9",
            "PIXELMILL_OIDC_CLIENT_ID": "pixelmill",
        }
    ),
    "proxy": Mode(
        {"PIXELMILL_AUTH": "proxy", "PIXELMILL_PROXY_ADDRESSES": "127.0.0.1"},
        "X-Forwarded-User: fuzzer",
        # It is sent with each request, as by a proxy. test_web_api_openapi.py asks without it.
        ("--exclude-checks", "ignored_auth"),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What one run of schemathesis did."""

    requests: int
    has_failed: bool
    text: str
    """What it printed: each failure, and how to send that request again."""


def run(stack: Stack, url: str, mode: Mode, *options: str) -> Outcome:
    """Send requests as a user; `options` are those of `schemathesis run`."""
    calls.SyncRedis(stack.state).do(api_keys.add(KEY, "fuzzer"))
    config = ["--config-file", str(FOLDER / "schemathesis.toml")]
    address = [f"{url}/openapi.json", "--header", mode.header, "--no-color"]
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *config,
            "run",
            *address,
            *mode.options,
            *options,
        ],
        cwd=stack.folder,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{FOLDER}"},
        capture_output=True,
        text=True,
    )
    counted = re.search(r"(\d+) generated", done.stdout)
    return Outcome(
        int(counted[1]) if counted else 0, done.returncode != 0, done.stdout + done.stderr
    )


def works(stack: Stack, url: str = "") -> bool:
    """Whether a new no-op job passes."""
    answer = httpx.post(
        f"{url or stack.url}/api/v1/predict/noop?salt={time.time_ns()}&wait=60",
        content=(REPOSITORY / "examples" / "chelsea.jpg").read_bytes(),
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=90,
    )
    return bool(answer.status_code == 200 and answer.json()["state"] == "done")
