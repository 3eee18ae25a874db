"""Servers whose certificates no public authority has signed: who believes them, and until when."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from stack import Stack
from tls_front import TlsFront, tls_front

from deploy.doctor import servers as server_checks
from deploy.doctor.certificates import certificates
from storage.errors import StorageDown
from storage.s3.objects import S3Objects
from tasks.settings import Settings, read


@pytest.fixture(scope="module")
def s3_front(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFront]:
    folder = Path(tmp_path_factory.mktemp("authority"))
    with tls_front(servers.ports["s3"], folder) as front:
        yield front


@pytest.fixture
def valid_again(s3_front: TlsFront) -> Iterator[TlsFront]:
    yield s3_front
    s3_front.renew()


@pytest.fixture(scope="module")
def page(
    servers: Stack, s3_front: TlsFront, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A web process that reaches S3 by TLS alone."""
    web = Stack(Path(tmp_path_factory.mktemp("web")))
    web.use_servers_of(servers)
    web.env |= {
        "PIXELMILL_S3_URL": f"https://127.0.0.1:{s3_front.port}",
        "PIXELMILL_S3_CA_FILE": str(s3_front.ca_file),
    }
    with web:
        web.start_web()
        with httpx.Client(base_url=web.url, timeout=30) as client:
            yield client


def s3_at(servers: Stack, front: TlsFront, ca_file: Path | None) -> S3Objects:
    return S3Objects(
        f"https://127.0.0.1:{front.port}",
        key=servers.env["PIXELMILL_S3_KEY"],
        secret=servers.env["PIXELMILL_S3_SECRET"],
        bucket="pixelmill",
        region="us-east-1",
        ca_file=ca_file,
    )


def settings_of(servers: Stack, front: TlsFront) -> Settings:
    return read(None, s3_url=f"https://127.0.0.1:{front.port}", s3_ca_file=front.ca_file)


def put_by_the_page(page: httpx.Client) -> httpx.Response:
    asked = {"size": 9, "type": "image/png"}
    upload = page.post("/api/v1/uploads", json=asked).raise_for_status().json()["upload"]
    return page.put(upload["url"], headers=upload["headers"], content=b"not a png")


def test_the_page_passes_photos_on_to_s3_with_a_certificate_of_ones_own_authority(
    page: httpx.Client,
) -> None:
    answer = put_by_the_page(page)

    assert answer.status_code == 200, answer.text


def test_a_certificate_that_was_renewed_is_taken_by_processes_that_run(
    page: httpx.Client, valid_again: TlsFront
) -> None:
    valid_again.renew(days=-1)
    expired = page.get("/readyz").json()["down"]
    valid_again.renew()

    assert expired and put_by_the_page(page).status_code == 200


def test_both_ways_to_s3_believe_the_authority_of_the_setting(
    servers: Stack, s3_front: TlsFront
) -> None:
    s3 = s3_at(servers, s3_front, s3_front.ca_file)

    s3.put("in/tls/photo", b"bytes", "image/png")

    assert s3.get("in/tls/photo") == b"bytes"
    assert s3._direct.get("in/tls/photo") is not None, "not only boto3, which asks again"


def test_the_authority_of_awss_own_settings_counts_where_none_is_set(
    servers: Stack, s3_front: TlsFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(s3_front.ca_file))
    s3 = s3_at(servers, s3_front, None)

    s3.put("in/tls/other", b"bytes", "image/png")

    assert s3._direct.get("in/tls/other") is not None


def test_an_authority_that_nobody_has_named_is_not_believed(
    servers: Stack, s3_front: TlsFront
) -> None:
    with pytest.raises(StorageDown, match="CERTIFICATE_VERIFY_FAILED"):
        s3_at(servers, s3_front, None).put("in/tls/none", b"bytes", "image/png")


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [(90, "ok", "valid until"), (5, "warn", "valid until"), (-1, "fail", "expired on")],
)
def test_the_doctor_says_when_a_certificate_ends(
    servers: Stack, valid_again: TlsFront, days: int, level: str, says: str
) -> None:
    valid_again.renew(days=days)

    [line] = certificates(settings_of(servers, valid_again))

    assert (line.what, line.level) == ("certificate of S3", level)
    assert line.value.startswith(says)
    assert bool(line.hint) == (level != "ok")


def test_the_doctor_refuses_a_redis_that_cannot_say_what_is_on_its_disk() -> None:
    [line] = server_checks.version({"redis_version": "7.0.15"})

    assert (line.level, line.value) == ("fail", "Redis 7.0.15, expected 7.2 or newer, or Valkey")


def test_the_doctor_takes_the_redis_of_these_tests(servers: Stack) -> None:
    client: redis.Redis = servers.client("state")

    assert not [*server_checks.version(client.info())]
