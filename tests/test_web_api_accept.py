"""What an Accept header asks for: JSON, or a picture and of which type."""

import pytest

from storage.catalogue import ModelCard
from tasks.errors import BadInput
from web.api.accept import FORMATS, Wish, wish_of
from web.api.options import Options
from web.api.pictures import for_picture

OPTIONS = Options(30, "interactive", "", True, None, "", True, "")


def card(kind: str, **properties: object) -> ModelCard:
    return {"kind": kind, "params": {"properties": properties}}  # type: ignore[typeddict-item]  # what is read of it


def wished(accept: str) -> Wish:
    wish = wish_of(accept.encode())
    assert wish is not None
    return wish


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/json", "application/json, text/plain, */*", "text/html",
     "application/json, image/png", "image/png;q=0.5, application/json", "image/png;q=0, */*",
     "image/png;q=0.5, */*;q=0.9", "application/*, image/png;q=0.9"],
)  # fmt: skip
def test_json_is_the_answer_to(accept: str) -> None:
    assert wish_of(accept.encode()) is None


@pytest.mark.parametrize(
    ("accept", "format"),
    [("image/png", "png"), ("image/webp;q=0.5, image/png", "png"), ("image/jpg", "jpeg"),
     ("IMAGE/AVIF ; Q=0.9", "avif"), ("image/png, application/json", "png"),
     ("image/webp, */*", "webp"), ("image/*", ""), ("image/*, image/png;q=0.5", ""),
     ("text/html, image/avif, image/webp, image/apng, */*;q=0.8", "avif")],
)  # fmt: skip
def test_a_picture_is_the_answer_to(accept: str, format: str) -> None:
    assert wished(accept).format == format


def test_a_type_that_is_excluded_is_not_taken() -> None:
    wish = wished("image/*, image/png;q=0")

    assert wish.types == set(FORMATS) - {"image/png"}
    assert wish.refused == {"image/png"}


@pytest.mark.parametrize("accept", ["image/gif", "image/png;q=0", "image/heic, image/tiff"])
def test_other_types_of_pictures_are_refused(accept: str) -> None:
    with pytest.raises(BadInput) as caught:
        wish_of(accept.encode())

    assert caught.value.status == 406 and "image/webp" in str(caught.value.hint)


def test_a_matte_is_answered_as_its_cutout_in_the_format_that_was_asked_for() -> None:
    options, params = for_picture(
        wished("image/png"), card("matte", format={}), OPTIONS, {"margin": "0"}
    )

    assert (options.output, params) == ("cutout", {"margin": "0", "format": "png"})


def test_any_picture_is_one_in_the_models_own_format() -> None:
    options, params = for_picture(wished("image/*"), card("matte", format={}), OPTIONS, {})

    assert (options.output, params) == ("cutout", {})


def test_an_output_that_was_named_is_the_answer() -> None:
    asked = OPTIONS._replace(output="mask,cutout")

    options, params = for_picture(wished("image/png"), card("matte", format={}), asked, {})

    assert (options.outputs[0], params) == ("mask", {})


def test_other_models_are_answered_by_their_preview() -> None:
    assert for_picture(wished("image/png"), card("boxes"), OPTIONS, {})[0].output == "preview"


def test_a_preview_is_made_in_the_format_that_was_asked_for_where_the_model_can() -> None:
    named = OPTIONS._replace(output="preview")

    for options in (OPTIONS, named):
        asked, params = for_picture(wished("image/png"), card("boxes", format={}), options, {})
        assert (asked.output, params) == ("preview", {"format": "png"})


def test_a_matte_without_the_parameter_is_asked_for_its_cutout_by_name() -> None:
    named = OPTIONS._replace(output="cutout,alpha")

    assert for_picture(wished("image/avif"), card("matte"), OPTIONS, {})[0].output == "cutout-avif"
    assert (
        for_picture(wished("image/png"), card("matte"), named, {})[0].output == "cutout-png,alpha"
    )
    assert for_picture(wished("image/*"), card("matte"), OPTIONS, {})[0].output == "cutout"


@pytest.mark.parametrize(
    ("output", "accept", "comes_as"),
    [("mask", "image/webp", "image/png"), ("preview", "image/png", "image/webp"),
     ("cutout-avif", "image/jpeg", "image/avif")],
)  # fmt: skip
def test_a_picture_that_is_of_one_type_only_is_refused_before_any_work(
    output: str, accept: str, comes_as: str
) -> None:
    asked = OPTIONS._replace(output=output)

    with pytest.raises(BadInput, match=f"{output} is {comes_as}") as caught:
        for_picture(wished(accept), card("matte", format={}), asked, {})

    assert caught.value.status == 406 and f"`Accept: {comes_as}`" in str(caught.value.hint)


def test_a_format_that_the_client_does_not_take_is_refused_before_any_work() -> None:
    with pytest.raises(BadInput, match="format=webp"):
        for_picture(wished("image/png"), card("matte", format={}), OPTIONS, {"format": "webp"})
