"""Results are written whole, found again, and never written over files of somebody else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.client import results
from deploy.client.results import Asked
from tasks.errors import BadInput, Unavailable

ASKED = Asked("a" * 64, "matting", {"format": "png"}, "cutout")
JOB: dict[str, Any] = {
    "id": "1", "state": "done", "result": {"objects": {
        "cutout": {"url": "/c", "type": "image/png"}, "alpha": {"url": "/a", "type": "image/png"},
    }},
}  # fmt: skip


def download(url: str, file: Path) -> int:
    return file.write_bytes(url.encode())


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()}


def test_a_result_is_found_by_a_later_run_that_asks_for_the_same(tmp_path: Path) -> None:
    results.save(JOB, tmp_path / "a", ASKED, "in/a.jpg", download)

    found = results.earlier(tmp_path / "a", ASKED)

    assert found and found.files == {
        "cutout": tmp_path / "a.cutout.png", "alpha": tmp_path / "a.alpha.png",
    }  # fmt: skip
    assert results.earlier(tmp_path / "b", ASKED) is None


@pytest.mark.parametrize(
    "change", [{"sha256": "b" * 64}, {"model": "toy"}, {"params": {}}, {"output": "alpha"}]
)
def test_another_photo_model_parameter_or_output_is_another_result(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    results.save(JOB, tmp_path / "a", ASKED, "in/a.jpg", download)

    assert results.earlier(tmp_path / "a", replace(ASKED, **change)) is None


def test_a_result_of_which_a_file_is_gone_is_made_again(tmp_path: Path) -> None:
    results.save(JOB, tmp_path / "a", ASKED, "in/a.jpg", download)
    (tmp_path / "a.alpha.png").unlink()

    assert results.earlier(tmp_path / "a", ASKED) is None


@pytest.mark.parametrize("content", ["{}", "not JSON", "[1]"])
def test_a_file_of_somebody_else_is_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)

    with pytest.raises(BadInput, match="was not written by pixelmill"):
        results.earlier(tmp_path / "a", ASKED)


def test_pictures_of_an_earlier_question_are_still_no_photos(tmp_path: Path) -> None:
    for name, model in (("cutout", "matting"), ("preview", "facemask"), ("labels", "classify")):
        job = {**JOB, "result": {"objects": {name: {"url": "/x", "type": "image/png"}}}}
        results.save(job, tmp_path / "a", replace(ASKED, model=model), "in/a.jpg", download)

    assert names(tmp_path) == {"a.cutout.png", "a.preview.png", "a.labels.png", "a.json"}
    assert all(results.is_result(file) for file in tmp_path.iterdir())
    assert results.earlier(tmp_path / "a", replace(ASKED, model="classify"))
    (tmp_path / "a.other.png").touch()
    assert not results.is_result(tmp_path / "a.other.png")


def test_a_result_that_cannot_be_downloaded_leaves_no_half_file(tmp_path: Path) -> None:
    def broken(url: str, file: Path) -> int:
        file.write_bytes(b"half")
        raise Unavailable("gone")

    with pytest.raises(Unavailable):
        results.save(JOB, tmp_path / "a", ASKED, "in/a.jpg", broken)

    assert names(tmp_path) == set()


def test_a_picture_with_a_path_for_a_name_is_not_written(tmp_path: Path) -> None:
    job = {"id": "1", "result": {"objects": {"../../evil": {"url": "/x", "type": "image/png"}}}}

    with pytest.raises(BadInput, match=r"unexpected name '\.\./\.\./evil'"):
        results.save(job, tmp_path / "out" / "a", ASKED, "a.jpg", download)

    assert names(tmp_path) == set()


def test_one_file_takes_the_main_picture(tmp_path: Path) -> None:
    results.save_as(JOB, tmp_path / "cut.png", "", download)
    results.save_as(JOB, tmp_path / "alpha.png", "alpha", download)

    assert (tmp_path / "cut.png").read_text() == "/c"
    assert (tmp_path / "alpha.png").read_text() == "/a"


def test_one_file_named_json_takes_the_answer(tmp_path: Path) -> None:
    results.save_as(JOB, tmp_path / "a.json", "", download)

    assert json.loads((tmp_path / "a.json").read_text()) == JOB


def test_a_file_whose_ending_is_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="which cut.webp is no name for") as caught:
        results.save_as(JOB, tmp_path / "cut.webp", "", download)

    assert caught.value.hint == "Name it cut.png."
    assert names(tmp_path) == set()


def test_a_model_without_pictures_has_no_main_picture() -> None:
    with pytest.raises(BadInput, match="makes no picture"):
        results.main_picture({"result": {"objects": {}}}, "")
