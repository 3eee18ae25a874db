"""What the command line says of parameters, outputs and models becomes one request."""

from pathlib import Path
from typing import Any

import pytest

from deploy.client import choice, destination, parameters
from deploy.client.answers import Model
from deploy.client.api import RunOptions
from deploy.client.outcome import failure
from tasks.errors import BadInput, Unavailable


def model(name: str = "matting", kind: str = "matte", **fields: Any) -> Model:
    known = {name: {} for name in ("background", "crop", "format", "refine")}
    params = {"properties": known if kind == "matte" else {"top": {}}}
    card = {"name": name, "kind": kind, "live": True, "params": params, **fields}
    return card  # type: ignore[return-value]  # the fields that are read


def options(out: str = "out", output: str = "", **params: str) -> RunOptions:
    return choice.options(
        [model()],
        "",
        params,
        output=output,
        destination=destination.parse(out),
        priority="interactive",
    )


def test_parameters_are_read_from_words() -> None:
    assert parameters.parameters(["gain=2", "note=a=b", "empty="]) == {
        "gain": "2", "note": "a=b", "empty": "",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["gain", "=2", "wait=5", "output=alpha"])
def test_what_is_no_parameter_is_refused(word: str) -> None:
    with pytest.raises(BadInput, match="is not a parameter of a model"):
        parameters.parameters([word])


def test_options_are_shorthands_of_parameters() -> None:
    assert parameters.merged(["refine=false"], {"crop": "subject", "margin": 0.1, "x": None}) == {
        "refine": "false", "crop": "subject", "margin": "0.1",
    }  # fmt: skip


def test_a_parameter_that_is_given_in_two_ways_is_refused() -> None:
    with pytest.raises(BadInput, match="max_side is given twice: by -p, and by --max-side"):
        parameters.merged(["max_side=1"], {"max_side": 2})


@pytest.mark.parametrize(
    ("said", "sent"),
    [("#FF8800", "#ff8800"), ("ff8800", "#ff8800"), ("f80", "#ff8800"), ("white", "#ffffff"),
     ("White", "#ffffff"), ("rgb(255, 136, 0)", "#ff8800"),
     ("blur", "blur"), ("0f" * 16, "0f" * 16)],
)  # fmt: skip
def test_a_background_is_a_colour_by_code_or_name(said: str, sent: str) -> None:
    assert parameters.merged([], {"background": said}) == {"background": sent}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("beach.jpg", "there is no file beach"),
        ("greenish", "is no background"),
        ("#ff880080", "is no background"),
    ],
)
def test_a_background_that_is_nothing_is_refused(said: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        parameters.merged([], {"background": said})


def test_a_background_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hi")
    asked = RunOptions("matting", {"background": str(tmp_path / "notes.txt")})

    with pytest.raises(BadInput, match=r"notes\.txt is no picture"):
        choice.with_upload(asked, lambda file, media_type: "unused")


def test_a_background_file_is_uploaded_and_named_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "beach.png").touch()
    asked = RunOptions("matting", {"background": str(tmp_path / "beach.png"), "crop": "none"})

    sent = choice.with_upload(asked, lambda file, media_type: f"id of {file.name}, {media_type}")

    assert sent.params == {"background": "id of beach.png, image/png", "crop": "none"}


def test_a_parameter_that_the_model_does_not_have_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadInput, match="matting has no parameter 'backdrop'; there are: back"):
        options(backdrop="blur")


@pytest.mark.parametrize("output", ["out/", "cut.png", "../x"])
def test_a_path_as_output_is_refused_with_the_right_option(output: str) -> None:
    with pytest.raises(BadInput) as caught:
        parameters.checked_output(output)

    assert "--out (-o)" in str(caught.value.hint)


def test_a_folder_gets_the_cut_out_beside_what_the_server_makes_by_itself() -> None:
    assert options().output == "alpha,preview,cutout"
    assert options(output="mask").output == "mask"


@pytest.mark.parametrize(
    ("out", "format_"), [("a.png", "png"), ("a.JPG", "jpeg"), ("a.avif", "avif"), ("-", "png")]
)
def test_one_file_gets_the_cut_out_in_the_format_of_its_ending(out: str, format_: str) -> None:
    assert options(out) == RunOptions("matting", {"format": format_}, "cutout")
    assert options(out, output="cutout") == options(out)


def test_a_file_that_contradicts_the_format_is_refused() -> None:
    with pytest.raises(BadInput, match=r"a\.png does not end like a picture of --format webp"):
        options("a.png", format="webp")


def test_without_a_name_matting_is_taken_or_the_only_model_that_is_served() -> None:
    toy, classify = model("toy", "labels"), model("classify", "labels")

    assert choice.chosen([toy, model()], "")["name"] == "matting"
    assert choice.chosen([toy], "")["name"] == "toy"
    with pytest.raises(BadInput, match="several models are served: toy, classify; name one"):
        choice.chosen([toy, classify], "")


def test_a_model_that_no_worker_serves_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no worker serves 'matting'"):
        choice.chosen([model(live=False)], "matting")


def test_a_folder_is_told_from_a_file_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "old.png").mkdir()

    assert destination.parse("cut.png").file == Path("cut.png")
    assert destination.parse("out.v2").folder == Path("out.v2")
    assert destination.parse(str(tmp_path / "old.png")).folder == tmp_path / "old.png"
    assert destination.parse("-").is_stdout
    with pytest.raises(BadInput, match=r"no result is written as \.tif; there are: \.webp"):
        destination.parse("cut.tif")


def test_a_place_where_nothing_can_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()

    for out in ("file/x", "file/x/y.png"):
        with pytest.raises(BadInput, match="file is a file"):
            destination.parse(str(tmp_path / out)).check()
    for out in ("new/deep", "cut.png", "-"):
        destination.parse(out if out == "-" else str(tmp_path / out)).check()


def test_an_error_of_the_disk_is_said_without_its_number() -> None:
    error = OSError(28, "No space left on device", "out/a.png")

    assert failure(error)["message"] == "out/a.png: No space left on device"


def test_the_preview_of_another_model_has_the_format_of_its_file() -> None:
    def asked(out: str, **params: str) -> Any:
        card = {**model(), "kind": "boxes"}
        to = destination.parse(out)
        return choice.options(
            [card], "", params, output="", destination=to, priority="interactive"
        ).params

    assert asked("faces.png") == asked("-") == {"format": "png"}
    assert asked("out") == asked("faces.json") == {}
    with pytest.raises(BadInput, match="does not end like a picture of --format avif"):
        asked("faces.png", format="avif")
