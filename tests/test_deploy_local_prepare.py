"""Preparing a state Redis that hangs holds up `pixelmill up` for seconds, and not for ever."""

import socket
import threading
from pathlib import Path

import pytest

from deploy.local import installation as installations
from deploy.local import up
from storage.errors import StorageDown
from tasks.settings import read


def test_a_redis_that_hangs_while_it_is_prepared_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "PREPARE_S", 0.2)
    settings = read(None, var_dir=tmp_path / "var")
    local, failures = up.Local(settings), list[Exception]()
    own = installations.load(settings.var_dir, print)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        local._env = {
            **installations.environment(own, settings),
            "PIXELMILL_STATE_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
        }

        def prepare() -> None:
            try:
                local._prepare(own)
            except StorageDown as error:
                failures.append(error)

        preparing = threading.Thread(target=prepare, daemon=True)
        preparing.start()
        preparing.join(30)

    assert failures
