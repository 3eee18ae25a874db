"""A damaged append-only file is recognised; without need nothing is touched.

That damage inside it is cut off shows test_deploy_local_state_loss.py.
"""

from pathlib import Path

import pytest
from stack import free_port

from deploy.local import aof_repair
from deploy.local.aof_repair import READY, START
from deploy.local.servers import redis_server, state_config
from deploy.supervision.process import CannotStart
from deploy.supervision.supervisor import Supervisor


def test_a_damaged_base_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    folder, said = tmp_path / "state", []
    supervisor = Supervisor(tmp_path / "logs", said.append, lambda: None)
    program = redis_server("state", folder, free_port(), "secret", config=state_config(64))
    supervisor.start(program)
    supervisor.wait_for("state", lambda: bool(list(folder.glob("appendonlydir/*.rdb"))), 20)
    supervisor.stop()
    [base] = folder.glob("appendonlydir/*.base.rdb")
    whole = bytearray(base.read_bytes())
    whole[20:40] = b"DAMAGE" * 3 + b"XX"
    base.write_bytes(whole)

    supervisor = Supervisor(tmp_path / "logs", said.append, lambda: None)
    supervisor.start(program)
    try:
        with pytest.raises(CannotStart, match="the base of its append-only file is damaged"):
            supervisor.wait_for("state", lambda: False, 20)
    finally:
        supervisor.stop()

    assert base.read_bytes() == bytes(whole), "nothing was changed"
    assert "move" in said[-1] or "move" in " ".join(said)


def test_an_old_complaint_in_the_log_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / aof_repair.FOLDER).mkdir()
    old = (
        f"{START} Valkey is starting\n# Bad file format reading the append only file x.aof: y\n"
        f"{START} Valkey is starting {START}\n* {READY} tcp\n# killed"
    )

    assert aof_repair.repair(tmp_path, "/nowhere", old) == ""
