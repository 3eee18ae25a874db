"""Which photos are sent, which files are left out, and where results go."""

import json
import os
from pathlib import Path

import pytest

from deploy.client import photos, text
from tasks.errors import BadInput

JOB = {"id": "1", "state": "done", "result": {"objects": {"alpha": {}, "cutout": {}}}}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def targets(root: Path, *paths: str) -> dict[str, str]:
    found = photos.find([str(root / path) for path in paths])
    return {
        str(photo.file.relative_to(root)): str(photo.target) for photo in found.photos if photo.file
    }


def left_out(root: Path, path: str) -> dict[str, str]:
    found = photos.find([str(root / path)])
    return {str(item.path.relative_to(root)): item.reason for item in found.left_out}


def test_photos_of_a_folder_are_found_in_order_and_keep_their_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.PNG", "in/a.jpg", "in/sub/a.jpg", "in/text.txt", "in/c.avif")

    assert targets(tmp_path, "in") == {
        "in/a.jpg": "a", "in/b.PNG": "b", "in/c.avif": "c", "in/sub/a.jpg": "sub/a",
    }  # fmt: skip
    assert list(targets(tmp_path, "in")) == ["in/a.jpg", "in/b.PNG", "in/c.avif", "in/sub/a.jpg"]


def test_every_ending_of_a_photo_is_taken_in_any_case(tmp_path: Path) -> None:
    names = ["a.jfif", "b.JPE", "c.Apng", "d.HEIC", "e.hif", "f.tif", "g.bmp", "h.GIF", "i.jxl",
             "j.mpo", "k.dib", "l.heif", "m.tiff", "n.jpeg", "o.webp"]  # fmt: skip
    touch(tmp_path, *[f"in/{name}" for name in names])

    assert set(targets(tmp_path, "in")) == {f"in/{name}" for name in names}


def test_photos_that_differ_by_their_ending_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/b.jpg")

    assert targets(tmp_path, "in") == {
        "in/a.jpg": "a.jpg", "in/a.png": "a.png", "in/b.jpg": "b",
    }  # fmt: skip


def test_results_of_a_slice_are_called_as_it_is_without_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "slice.dcm", "other.IMA")

    assert targets(tmp_path, "slice.dcm", "other.IMA") == {
        "slice.dcm": "slice", "other.IMA": "other",
    }  # fmt: skip


def test_photos_of_one_name_out_of_two_folders_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")

    assert targets(tmp_path, "one", "two") == {
        "one/a.jpg": "one/a.jpg", "two/a.jpg": "two/a.jpg", "two/b.jpg": "b",
    }  # fmt: skip


def test_a_photo_that_is_named_twice_is_sent_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")

    assert targets(tmp_path, "in", "in/a.jpg") == {"in/a.jpg": "a"}


def test_a_file_that_is_named_is_sent_whatever_its_name_is(tmp_path: Path) -> None:
    touch(tmp_path, "._a.dat")

    assert targets(tmp_path, "._a.dat") == {"._a.dat": "._a.dat"}


def test_even_odd_names_never_go_to_one_place(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/a.jpg.png", "in/A.JPG")

    assert len({target.casefold() for target in targets(tmp_path, "in").values()}) == 4


def test_a_long_name_is_cut_so_that_its_results_have_room(tmp_path: Path) -> None:
    names = [f"{'長' * 80}{number}.jpg" for number in (1, 2)]
    touch(tmp_path, *names)

    places = list(targets(tmp_path, "").values())

    assert len(set(places)) == 2
    assert max(len(os.fsencode(f"{place}.cutout.webp.12345678.part")) for place in places) <= 255


def test_addresses_are_named_after_the_last_part_of_their_path() -> None:
    found = photos.find(
        ["https://a.example/x/my%20cat.jpg?size=1", "https://b.example/", "http://c.example/..%2Fd"]
    )

    assert [str(photo.target) for photo in found.photos] == ["_d", "my cat", "photo"]
    assert not any(photo.file for photo in found.photos)


def test_addresses_of_one_name_are_kept_apart() -> None:
    found = photos.find([f"https://{host}.example/p/a.jpg" for host in ("a", "b")])

    assert [str(p.target) for p in found.photos] == ["a.example/p/a.jpg", "b.example/p/a.jpg"]


def test_what_is_left_out_has_its_reason(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/._a.jpg", "in/.hidden.jpg", "in/.git/b.jpg", "in/notes.txt")
    touch(tmp_path, "in/@eaDir/a.jpg", "in/__MACOSX/c.jpg", "in/sub/._b.jpg")
    (tmp_path / "in" / "broken.jpg").symlink_to("nowhere.jpg")

    assert left_out(tmp_path, "in") == {
        "in/._a.jpg": "resource_fork",
        "in/sub/._b.jpg": "resource_fork",
        "in/.hidden.jpg": "hidden",
        "in/.git": "hidden",
        "in/notes.txt": "ending",
        "in/@eaDir": "system_folder",
        "in/__MACOSX": "system_folder",
        "in/broken.jpg": "no_file",
    }


def test_results_of_earlier_runs_are_no_photos_wherever_they_lie(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/old/b.alpha.png", "in/old/b.cutout.webp", "in/old/b.edited.jpg")
    (tmp_path / "in" / "old" / "b.json").write_text(json.dumps(JOB))
    (tmp_path / "in" / "a.json").write_text("{}")

    assert set(targets(tmp_path, "in")) == {"in/a.jpg", "in/old/b.edited.jpg"}
    assert left_out(tmp_path, "in") == {
        "in/a.json": "ending",
        "in/old/b.alpha.png": "earlier_result",
        "in/old/b.cutout.webp": "earlier_result",
        "in/old/b.json": "earlier_result",
    }


def test_the_summary_names_few_files_and_counts_many(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "._a.jpg", "sub/._b.jpg", "notes.txt", *[f"{n}.mov" for n in range(5)])

    said = text.left_out(photos.find([str(tmp_path)]).left_out)

    assert said == "8 (2 x ._*, 5 x .mov, notes.txt)"


def test_names_cannot_harm_the_terminal() -> None:
    assert text.shown("new\nline\x1b[2J.jpg") == "new\\nline\\x1b[2J.jpg"
    assert text.shown(os.fsdecode(b"\xff.jpg")) == "\N{REPLACEMENT CHARACTER}.jpg"
    assert text.shown("Ünïcode 😀.jpg") == "Ünïcode 😀.jpg"


@pytest.mark.parametrize(("path", "said"), [("none", "no file or folder"), ("", "no photos in")])
def test_nothing_to_send_is_a_sentence(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        targets(tmp_path, path)


def test_for_a_model_of_volumes_the_slices_of_each_folder_are_one_volume(tmp_path: Path) -> None:
    touch(tmp_path, "in/ct/DICOMDIR", "in/ct/readme.txt", "in/png/s1.png", "in/chest.nii.gz")
    for name in ("ct/IM2", "ct/IM10", "ct/1.dcm", "mixed/a", "mixed/s1.png"):
        touch(tmp_path, f"in/{name}")
        (tmp_path / "in" / name).write_bytes(bytes(128) + b"DICM" + bytes(300))

    found = photos.find([str(tmp_path / "in")], are_volumes=True)

    volumes = {
        str(photo.target): [path.name for path in photo.series.files] if photo.series else []
        for photo in found.photos
    }
    assert volumes == {
        "chest": [], "ct": ["1.dcm", "IM10", "IM2"], "mixed": ["a"], "png": ["s1.png"],
    }  # fmt: skip
    assert {item.path.name: item.reason for item in found.left_out} == {
        "DICOMDIR": "no_volume", "readme.txt": "no_volume", "s1.png": "no_volume",
    }  # fmt: skip


def test_a_folder_that_is_one_series_gives_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "chest/s1.png", "chest/s2.png", "chest/s10.png")

    [photo] = photos.find([str(tmp_path / "chest")], are_volumes=True).photos

    assert (str(photo.target), photo.file) == ("chest", None)
    assert photo.series
    assert [path.name for path in photo.series.files] == ["s1.png", "s2.png", "s10.png"]


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "in/notes.txt")

    with pytest.raises(BadInput, match=r"no volumes in .*; expected DICOM files, \*\.nii\.gz"):
        photos.find([str(tmp_path / "in")], are_volumes=True)
