"""What `pixelmill proxy` prints, as the real nginx and haproxy understand it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.proxy import Kind, Proxy, render
from tasks.errors import BadInput
from tasks.settings import read

CHECKS = {"nginx": ["nginx", "-t", "-e", "stderr", "-c"], "haproxy": ["haproxy", "-c", "-f"]}
PUBLIC_URLS = ("https://mill.test", "https://mill.test:8443/mill")
needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a certificate for mill.test."""
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "run").mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=mill.test", "-addext", "subjectAltName=DNS:mill.test"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", *key, *names, *files], check=True, capture_output=True
    )
    both = (folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes()
    (folder / "both.pem").write_bytes(both)
    return folder


def proxy_of(folder: Path, kind: Kind, **given: object) -> Proxy:
    certificate = folder / ("cert.pem" if kind == "nginx" else "both.pem")
    values = {"web": ("127.0.0.1:1", "127.0.0.1:2"), "certificate": str(certificate),
              "key": str(folder / "key.pem"), "listen": "127.0.0.1:1",
              "http_listen": "127.0.0.1:2", "run_dir": str(folder / "run")}  # fmt: skip
    return Proxy(**(values | given))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_the_load_balancer_takes_its_configuration(folder: Path, kind: Kind) -> None:
    if not shutil.which(kind):
        pytest.skip(f"{kind} is not installed")
    proxy = proxy_of(folder, kind, behind=("10.0.0.0/8", "192.0.2.1"))

    for url in PUBLIC_URLS:
        (folder / kind).write_text(render(kind, proxy, read(None, public_url=url)))
        done = subprocess.run([*CHECKS[kind], str(folder / kind)], capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert "warn" not in done.stderr.lower()


def test_a_bucket_that_is_a_folder_is_refused(folder: Path) -> None:
    settings = read(None, public_url=PUBLIC_URLS[0], s3_url="file:///photos")

    with pytest.raises(BadInput, match="serves one host alone"):
        render("nginx", proxy_of(folder, "nginx"), settings)


def test_an_address_without_tls_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="expected https"):
        render("nginx", proxy_of(folder, "nginx"), read(None, public_url="http://mill.test"))


def test_a_client_cannot_say_who_it_is_where_the_load_balancer_stands_alone(folder: Path) -> None:
    settings = read(None, public_url=PUBLIC_URLS[0], auth="proxy", proxy_addresses="10.0.0.1")

    alone = render("nginx", proxy_of(folder, "nginx"), settings)
    behind = render("nginx", proxy_of(folder, "nginx", behind=("10.0.0.9",)), settings)

    assert 'proxy_set_header X-Forwarded-User "";' in alone
    assert "X-Forwarded-User" not in behind
