"""`pixelmill run` against a running server."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import EXAMPLES, pixelmill
from PIL import Image
from stack import Stack
from volume_files import phantom, slice_file

from deploy.client import destination, run
from deploy.client.server import Server, find_server
from tasks.errors import BadInput
from tasks.settings import settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos of one name in two folders, and a text file that says it is one."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    shutil.copy(EXAMPLES / "astronaut.jpg", tmp_path / "in" / "one.jpg")
    shutil.copy(EXAMPLES / "coffee.jpg", tmp_path / "in" / "sub" / "one.JPG")
    (tmp_path / "in" / "letter.jpg").write_text("Dear Pixelmill, this is not a photo.")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def do(stack: Stack, folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; returns exit code, standard output and standard error."""

    def do(*words: str, out: str = "out", server: Server | None = None, **options: Any) -> Any:
        params = options.pop("params", {})
        command = run.Command(words, destination.parse(out), params=params, **options)
        capsys.readouterr()
        code = run.main(command, server or Server(stack.url, stack.api_key))
        said = capsys.readouterr()
        return code, said.out, said.err

    return do


def written(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def unique(**params: str) -> dict[str, str]:
    """Parameters of `noop` that nobody has asked for yet."""
    return {"salt": str(int.from_bytes(os.urandom(4))), **params}


def test_a_folder_comes_back_as_results_and_the_bad_file_is_named(
    stack: Stack, folder: Path
) -> None:
    done = pixelmill(folder, stack, "run", "in", "-m", "toy", "-p", "gain=2", "-o", "out")

    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "in/letter.jpg", "left out",
    ]  # fmt: skip
    assert "left out: 1 (notes.txt)" in done.stderr
    assert "2 done" in done.stdout
    assert "1 failed" in done.stdout
    assert written(folder / "out") == {
        "one.json", "one.preview.png", "sub/one.json", "sub/one.preview.png",
    }  # fmt: skip
    assert (folder / "out" / "one.preview.png").read_bytes().startswith(b"\x89PNG")
    answer = json.loads((folder / "out" / "one.json").read_text())
    assert answer["params"] == {"gain": 2}
    assert answer["run"]["files"] == {"preview": "one.preview.png"}


def test_what_is_there_already_is_not_sent_again(do: Run, folder: Path) -> None:
    params = unique()
    assert do("in/one.jpg", "in/sub", model="noop", params=params)[0] == 0

    code, out, _ = do("in/one.jpg", "in/sub", model="noop", params=params)

    assert code == 0
    assert "0 done, 0 of them cached, 0 failed" in out
    assert "2 of 2 were there already; --again sends them anyway" in out


def test_the_same_photo_sent_again_is_counted_as_cached(do: Run) -> None:
    params = unique()
    do("in/one.jpg", model="noop", params=params)

    _, out, _ = do("in/one.jpg", model="noop", params=params, again=True)

    assert "1 done, 1 of them cached, 0 failed" in out


def test_a_changed_photo_is_sent_again(do: Run, folder: Path) -> None:
    params = unique()
    do("in/one.jpg", model="noop", params=params)
    shutil.copy(EXAMPLES / "coffee.jpg", folder / "in" / "one.jpg")

    _, out, _ = do("in/one.jpg", model="noop", params=params)

    assert "1 done" in out


def test_one_photo_becomes_the_file_that_is_named(do: Run, folder: Path) -> None:
    code, out, _ = do("in/one.jpg", out="cut.png")

    assert code == 0
    assert (folder / "cut.png").read_bytes().startswith(b"\x89PNG")
    assert out.startswith("in/one.jpg -> cut.png (")
    assert written(folder) & {"cut.json", "out"} == set()


def test_options_for_cut_outs_make_pictures_for_a_shop(do: Run, folder: Path) -> None:
    looks = {"background": "#ffffff", "crop": "subject", "format": "jpeg", "max_side": "200"}

    code, _, err = do("in/one.jpg", params=looks, output="cutout,mask")

    assert code == 0, err
    with Image.open(folder / "out" / "one.cutout.jpg") as picture:
        assert max(picture.size) == 200
        assert min(picture.getpixel((3, 3))) > 245
    with Image.open(folder / "out" / "one.mask.png") as mask:
        assert mask.mode == "L"


def test_a_background_picture_is_uploaded_and_remembered_by_its_hash(do: Run, folder: Path) -> None:
    Image.new("RGB", (64, 64), (0, 0, 255)).save(folder / "sea.png")
    params = {"background": "sea.png"}
    code, _, err = do("in/one.jpg", out="cut.png", params=params)

    assert code == 0, err
    with Image.open(folder / "cut.png") as picture:
        assert picture.convert("RGB").getpixel((2, 2)) == (0, 0, 255)
    do("in/one.jpg", params=params)
    assert "1 of 1 was there already" in do("in/one.jpg", params=params)[1]
    Image.new("RGB", (64, 64), (255, 0, 0)).save(folder / "sea.png")
    assert "1 done" in do("in/one.jpg", params=params)[1]


def test_one_file_does_not_take_two_photos_and_no_photo_is_written_over(do: Run) -> None:
    with pytest.raises(BadInput, match=r"cut\.png takes the picture of one photo, and here are"):
        do("in", out="cut.png")
    with pytest.raises(BadInput, match="is the photo itself"):
        do("in/one.jpg", out="in/one.jpg")


def test_a_wrong_parameter_is_said_once_and_the_rest_is_not_sent(do: Run) -> None:
    code, out, err = do("in/one.jpg", "in/sub", model="noop", params={"salt": "x"}, jobs=1)

    assert code == 2
    assert "0 done, 0 of them cached, 1 failed" in out
    assert "salt" in err
    assert "stopped, as the rest would fail so too; not sent: 1" in err


def test_photos_with_the_same_error_are_one_group(do: Run, folder: Path) -> None:
    for number in range(11):
        (folder / "in" / f"letter{number}.png").write_text("Dear Pixelmill")

    code, _, err = do("in", model="noop", params=unique())

    assert code == 1
    assert err.count("accepted") == 1
    assert "12 photos: " in err
    assert "    in/letter.jpg" in err
    assert "    and 2 more, which --verbose names" in err


def test_a_photo_of_a_format_that_the_server_does_not_take_is_left_out(
    do: Run, folder: Path
) -> None:
    (folder / "in" / "letter.jpg").unlink()
    (folder / "in" / "scan.tif").write_text("no server takes this")
    (folder / "in" / "._one.jpg").write_bytes(b"\0\5\x16\7")

    code, out, err = do("in", model="noop", params=unique())

    assert code == 0
    assert "2 done" in out and "0 failed" in out
    assert "left out, as the server does not take it: in/scan.tif: " in err
    assert "left out: 2 (1 x ._*, notes.txt)" in err
    assert do("in/scan.tif", model="noop", params=unique())[0] == 1, "who names it wants it done"


def test_an_unknown_model_is_refused_before_anything_is_sent(do: Run) -> None:
    with pytest.raises(BadInput, match="no model 'nope'; there are: .*noop"):
        do("in", model="nope")


def test_without_a_key_all_photos_are_of_one_visitor(do: Run, stack: Stack) -> None:
    stranger = Server(stack.url, "")

    code, _, _ = do("in/one.jpg", "in/sub", model="noop", params=unique(), server=stranger)

    assert code == 0


def test_the_server_of_this_folder_is_reached_by_loopback_whatever_it_is_called(
    do: Run, stack: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_VAR_DIR", str(folder / "var"))
    settings.cache_clear()
    public = "https://mill.not-a-name.invalid"
    run_file = {"url": public, "own_url": stack.url, "api_key": stack.api_key}
    (folder / "var").mkdir()
    (folder / "var" / "run.json").write_text(json.dumps(run_file))

    for named in ("", public):
        code, out, _ = do("in/one.jpg", model="toy", server=find_server(named, ""), again=True)
        assert code == 0 and "1 done" in out
    settings.cache_clear()


def test_few_photos_are_interactive_and_many_are_batch(do: Run, folder: Path) -> None:
    for number in range(run.MANY):
        (folder / "in" / f"{number:02}.jpg").write_bytes(
            (EXAMPLES / "coffee.jpg").read_bytes() + bytes([number])
        )
    (folder / "in" / "letter.jpg").unlink()

    assert do("in/00.jpg", model="noop", params=unique())[0] == 0
    assert do("in", model="noop", params=unique(), out="many", jobs=8)[0] == 0

    assert json.loads((folder / "out" / "00.json").read_text())["priority"] == "interactive"
    assert json.loads((folder / "many" / "00.json").read_text())["priority"] == "batch"


def test_a_dry_run_says_what_it_would_do_and_does_nothing(do: Run, folder: Path) -> None:
    params = unique()
    do("in/one.jpg", model="noop", params=params)
    before = written(folder)

    code, out, err = do("in", "https://a.example/b.jpg", model="noop", params=params, dry_run=True)

    assert code == 0
    assert out.splitlines()[0].startswith("would send 3 photos (")
    assert "  in/one.jpg: there already; --again would send it anyway" in out
    assert "  in/sub/one.JPG -> out/sub/one.*" in out
    assert "  https://a.example/b.jpg -> out/b.*" in out
    assert "nothing was sent" in out
    assert "left out: in/notes.txt (not the ending of a photo)" in err
    assert written(folder) == before


def test_json_is_one_object_per_photo_and_the_figures_last(do: Run, folder: Path) -> None:
    code, out, err = do("in", model="toy", params={"gain": "3"}, as_json=True)

    lines = [json.loads(line) for line in out.splitlines()]
    by_photo = {line["photo"]: line for line in lines if line["type"] == "photo"}
    assert code == lines[-1]["exit_code"] == 1
    assert err == ""
    assert by_photo["in/one.jpg"]["status"] == "done"
    assert by_photo["in/one.jpg"]["width"] == 512
    assert by_photo["in/one.jpg"]["data"] == {"gain": 3}
    assert by_photo["in/one.jpg"]["files"] == {
        "preview": "out/one.preview.png", "json": "out/one.json",
    }  # fmt: skip
    assert by_photo["in/letter.jpg"]["error"]["code"] == "unsupported_type"
    assert [line["path"] for line in lines if line["type"] == "left_out"] == ["in/notes.txt"]
    assert {name: lines[-1][name] for name in ("photos", "done", "failed", "left_out")} == {
        "photos": 3, "done": 2, "failed": 1, "left_out": 1,
    }  # fmt: skip


def test_verbose_names_every_photo_and_every_file_that_is_left_out(do: Run) -> None:
    _, _, err = do("in", model="toy", params={"gain": "3"}, is_verbose=True)

    assert "in/one.jpg -> out/one.preview.png, out/one.json (" in err
    assert "left out: in/notes.txt (not the ending of a photo)" in err


def test_odd_names_are_sent_and_written(do: Run, folder: Path) -> None:
    names = ["-o.jpg", "a b'c\".jpg", "zwei\nZeilen.jpg", "長" * 80 + ".jpg", "%2e%2e.jpg"]
    for name in [*names, os.fsdecode(b"\xff\xfe.jpg")]:
        shutil.copy(EXAMPLES / "coffee.jpg", folder / "in" / "sub" / name)

    code, out, err = do("in/sub", model="toy", is_verbose=True)

    assert code == 0, err
    assert "7 done" in out
    assert len([name for name in written(folder / "out") if name.endswith(".preview.png")]) == 7


def test_a_folder_of_slices_is_sent_as_one_volume_and_found_again(do: Run, folder: Path) -> None:
    (folder / "in" / "chest").mkdir()
    made = phantom(spacing=(5, 5, 25))
    for k in range(len(made.voxels)):
        (folder / "in" / "chest" / f"IM{k}").write_bytes(slice_file(made, k))

    code, out, err = do("in/chest", model="toyvolume", as_json=True)

    first, *_, figures = map(json.loads, out.splitlines())
    assert (code, err) == (0, "")
    assert (first["photo"], len(first["data"]["means"])) == ("in/chest", len(made.voxels))
    assert {"out/chest.json", "out/chest.mask.bin"} <= {*first["files"].values()}
    assert figures["photos"] == 1
    _, again, _ = do("in/chest", model="toyvolume")
    assert "1 of 1 was there already" in again
