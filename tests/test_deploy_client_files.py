"""Which photos are sent, and where their results go."""

from pathlib import Path

import pytest

from deploy.client import files
from tasks.errors import BadInput


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def targets(root: Path, *paths: str) -> dict[str, str]:
    photos = files.find([root / path for path in paths], root / "out")
    return {str(file.relative_to(root)): str(target) for file, target in photos.items()}


def test_photos_of_a_folder_are_found_in_order_and_keep_their_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.PNG", "in/a.jpg", "in/sub/a.jpg", "in/text.txt", "in/c.avif")

    assert targets(tmp_path, "in") == {
        "in/a.jpg": "a", "in/b.PNG": "b", "in/c.avif": "c", "in/sub/a.jpg": "sub/a",
    }  # fmt: skip
    assert list(targets(tmp_path, "in")) == ["in/a.jpg", "in/b.PNG", "in/c.avif", "in/sub/a.jpg"]


def test_photos_that_differ_by_their_ending_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/b.jpg")

    assert targets(tmp_path, "in") == {
        "in/a.jpg": "a.jpg", "in/a.png": "a.png", "in/b.jpg": "b",
    }  # fmt: skip


def test_photos_of_one_name_out_of_two_folders_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")

    assert targets(tmp_path, "one", "two") == {
        "one/a.jpg": "one/a.jpg", "two/a.jpg": "two/a.jpg", "two/b.jpg": "b",
    }  # fmt: skip


def test_a_photo_that_is_named_twice_is_sent_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")

    assert targets(tmp_path, "in", "in/a.jpg") == {"in/a.jpg": "a"}


def test_earlier_results_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/a.alpha.png", "out/a.json")

    assert targets(tmp_path, "") == {"a.jpg": "a"}


def test_results_beside_the_photos_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "out/a.jpg", "out/a.alpha.png", "out/a.json", "out/b.edited.jpg")

    assert targets(tmp_path, "out") == {"out/a.jpg": "a", "out/b.edited.jpg": "b.edited"}


def test_even_odd_names_never_go_to_one_place(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/a.jpg.png")

    assert len(set(targets(tmp_path, "in").values())) == 3


@pytest.mark.parametrize(("path", "said"), [("none", "no file or folder"), ("", "no photos in")])
def test_nothing_to_send_is_a_sentence(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        targets(tmp_path, path)


def test_a_picture_with_a_path_for_a_name_is_not_written(tmp_path: Path) -> None:
    picture = {"url": "/x", "type": "image/png"}
    job = {"id": "1", "result": {"objects": {"../../evil": picture}}}

    with pytest.raises(BadInput, match=r"unexpected name '\.\./\.\./evil'"):
        files.save(job, tmp_path / "out" / "a", lambda url: b"bytes")

    assert not [file for file in tmp_path.rglob("*") if "evil" in file.name]
