"""The page's pictures in a real browser: upright, with the upload's own alpha, as the server's."""

import io
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import colours
import httpx
import numpy as np
from actions import SIDE, as_file, bottle, downloaded, drawn, pick
from numpy.typing import NDArray
from PIL import Image, ImageOps
from playwright.sync_api import Page, Route, expect
from traffic import bytes_of

from deploy.client.folders import ENDINGS

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ASTRONAUT = EXAMPLES / "astronaut.jpg"

READ_ROWS = """async (files) => {
    const { uprightOf } = await import("/static/photo/photos.js");
    const read = [];
    for (const data of files) {
        const upright = await uprightOf({ file: await (await fetch(data)).blob() });
        let text = "";
        for (let top = 0; top < upright.height; top += 7) {
            text += String.fromCharCode(...upright.rows(top, Math.min(7, upright.height - top)));
        }
        read.push([upright.width, upright.height, btoa(text)]);
    }
    return read;
}"""
"""Reads data: addresses as the page reads a photo, seven rows at a time."""


def turned(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a camera stores it, and the EXIF that says so."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture.transpose(back[orientation]) if orientation in back else picture
    return stored, exif


def pixels_read(page: Page, files: list[dict[str, Any]]) -> list[NDArray[np.uint8]]:
    """Upright H x W x 4 RGBA with straight alpha, as the page reads each file."""
    return [
        np.frombuffer(b64decode(text), np.uint8).reshape(height, width, 4)
        for width, height, text in page.evaluate(READ_ROWS, addresses_of(files))
    ]


def addresses_of(files: list[dict[str, Any]]) -> list[str]:
    """data: addresses, which a page can read."""
    return [f"data:{f['mimeType']};base64,{b64encode(f['buffer']).decode()}" for f in files]


def cutout_of(stack: Any, data: bytes, output: str = "cutout", **params: Any) -> Image.Image:
    """The server's own cut-out of the same upload, or another output, as a PNG by the API."""
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/matting",
        params={"wait": 60, "output": output, "format": "png", **params},
        content=data,
        headers={"Authorization": f"Bearer {stack.api_key}"},
        timeout=90,
    )
    answer.raise_for_status()
    picture = httpx.get(answer.json()["result"]["objects"][output]["url"])
    return Image.open(io.BytesIO(picture.content))


def differences(ours: Image.Image, theirs: Image.Image) -> tuple[float, int, int]:
    """Mean and maximum of what can be seen of the colours, and maximum of alpha."""
    a, b = (np.asarray(picture.convert("RGBA")).astype(int) for picture in (ours, theirs))
    assert a.shape == b.shape
    seen = (a[..., 3] > 8) & (b[..., 3] > 8)
    colour = np.abs(a[seen, :3] - b[seen, :3])
    return colour.mean(), colour.max(), np.abs(a[..., 3] - b[..., 3]).max()


def test_every_orientation_is_read_as_pillow_reads_it(page: Page):
    cases = [(kind, number) for kind in ("JPEG", "PNG", "WEBP") for number in range(1, 9)]
    files, expected = [], []
    for kind, number in cases:
        stored, exif = turned(bottle().resize((60, 80)), number)
        options = {"lossless": True} if kind == "WEBP" else {}
        files.append(as_file(stored, kind, exif=exif, **options))
        with Image.open(io.BytesIO(files[-1]["buffer"])) as again:
            expected.append(np.asarray(ImageOps.exif_transpose(again).convert("RGBA")))

    for case, read, right in zip(cases, pixels_read(page, files), expected, strict=True):
        assert read.shape == right.shape == (80, 60, 4), case
        assert np.abs(read.astype(int) - right).max() <= 3, case


def test_colours_under_a_faint_alpha_are_read_exactly(page: Page):
    random = np.random.default_rng(7).integers(0, 256, (48, 64, 4), np.uint8)
    random[..., 3] = np.maximum(random[..., 3] // 8, 1)
    picture = Image.fromarray(random)
    files = [as_file(picture, "PNG"), as_file(picture, "WEBP", lossless=True, exact=True)]

    for read in pixels_read(page, files):
        assert (read == random).all()


def test_a_jpeg_without_its_end_is_read_all_the_same(page: Page):
    whole = as_file(bottle(), "JPEG", quality=95)["buffer"]
    ends = (b"", b"a trailer, as cameras of panoramas write it" * 20)
    files = [{"mimeType": "image/jpeg", "buffer": whole[:-2] + end} for end in ends]

    with Image.open(io.BytesIO(whole)) as picture:
        right = np.asarray(picture.convert("RGBA")).astype(int)
    for read in pixels_read(page, files):
        assert np.abs(read - right).max() <= 3


def test_a_webp_on_its_side_is_sent_shown_and_saved_upright(page: Page, tmp_path: Path):
    stored, exif = turned(bottle().resize((600, 2200)), 6)

    pick(page, as_file(stored, "WEBP", exif=exif, quality=90))
    drawn(page)

    expect(page.locator(".facts")).to_contain_text("600 × 2200")
    shown = page.evaluate("(({width, height}) => [width, height])(document.querySelector('.cut'))")
    assert shown == [436, 1600]
    cut = downloaded(page, "Download PNG", tmp_path)
    assert cut.size == (600, 2200)
    assert cut.getpixel((300, 1900))[2] > 120, "the blue foot is below"
    expect(page.locator(".notes li")).to_have_count(0)


def test_a_transparent_upload_keeps_its_alpha_and_colours(page: Page, stack: Any, tmp_path: Path):
    picture = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    picture.paste((200, 60, 40, 128), (90, 60, 230, 300))
    file = as_file(picture, "PNG")

    pick(page, file)
    drawn(page)

    cut = downloaded(page, "Download PNG", tmp_path)
    assert np.abs(np.subtract(cut.getpixel((160, 180)), (200, 60, 40, 128))).max() <= 2
    mean, most, alpha = differences(cut, cutout_of(stack, file["buffer"]))
    assert (mean <= 1, most <= 4, alpha <= 1) == (True, True, True), (mean, most, alpha)


def test_a_large_transparent_photo_is_not_flattened_when_it_is_shrunk(page: Page, tmp_path: Path):
    random = np.random.default_rng(1).integers(0, 40, (120, 440), np.uint8)
    noise = np.asarray(Image.fromarray(random).resize((2200, 600), Image.Resampling.BICUBIC))
    pixels = np.dstack([200 - noise, 60 + noise, 40 + noise, 0 * noise])
    pixels[100:560, 800:1400, 3] = 128
    file = as_file(Image.fromarray(pixels), "PNG")

    pick(page, file)
    drawn(page)

    (put,) = page.traffic.puts
    assert put.headers["content-type"] == "image/webp"
    assert bytes_of(put) < len(file["buffer"])
    cut = downloaded(page, "Download PNG", tmp_path)
    assert cut.size == (2200, 600)
    assert np.abs(np.subtract(cut.getpixel((1100, 300)), pixels[300, 1100])).max() <= 2
    assert cut.getpixel((100, 100)) == (0, 0, 0, 0)


LOOKS: dict[str, tuple[dict[str, Any], tuple[float, int, int]]] = {
    "transparent": ({}, (0.5, 4, 0)),
    "Green": ({"background": "#00b140"}, (1, 4, 0)),
    "Blurred": ({"background": "blur"}, (1, 8, 0)),
    "crop": ({"background": "blur", "crop": "subject", "margin": 0.1}, (1, 8, 0)),
}
"""What is clicked: the API's parameters for the same, the most that colours (mean, max) and alpha
may differ by."""


def test_downloads_have_the_pixels_of_the_servers_cut_outs(page: Page, stack: Any, tmp_path: Path):
    photo = EXAMPLES / "coffee.jpg"
    pick(page, photo)
    drawn(page)

    for look, (params, most) in LOOKS.items():
        if look == "crop":
            page.get_by_label("To subject").check()
            page.get_by_role("slider", name="Margin").fill("0.1")
        elif params:
            page.get_by_title(look).click()
        cut = downloaded(page, "Download PNG", tmp_path)
        found = differences(cut, cutout_of(stack, photo.read_bytes(), **params))
        assert all(value <= limit for value, limit in zip(found, most, strict=True)), (look, found)


def test_a_photo_that_the_browser_cannot_read_is_shown_and_saved_by_the_servers_pictures(
    page: Page, tmp_path: Path
):
    pick(page, as_file(bottle(), "TIFF"))
    drawn(page)

    assert page.get_attribute(".viewer", "data-compare") == "true"
    expect(page.locator(".strip img")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text(f"240 × {SIDE}")
    cut = downloaded(page, "Download PNG", tmp_path)
    assert (cut.size, cut.mode) == ((240, SIDE), "RGBA")
    assert cut.getpixel((120, 150))[3] > 200
    page.get_by_title("White").click()
    assert downloaded(page, "JPEG", tmp_path).getpixel((5, 5)) == (255, 255, 255)


def test_a_photo_of_which_browsers_show_other_colours_is_shown_and_saved_in_the_servers(
    page: Page, stack: Any, tmp_path: Path
):
    """By up to 20 levels of 255, as its profile is a table."""
    wide = Image.new("RGB", (2200, 600), (90, 140, 60))
    wide.paste(bottle().resize((450, 600), Image.Resampling.LANCZOS), (900, 0))
    profile = colours.table_icc(colours.SPACES["gamma22"])
    file = as_file(wide, "JPEG", quality=95, icc_profile=profile)

    pick(page, file)
    drawn(page)

    (put,) = page.traffic.puts
    assert bytes_of(put) == len(file["buffer"]), "not shrunk in the browser's colours"
    before = page.evaluate(
        "[...document.querySelector('.before').getContext('2d').getImageData(30, 30, 1, 1).data]"
    )
    photo = cutout_of(stack, file["buffer"], output="photo-png").getpixel((30, 30))
    assert np.abs(np.subtract(before[:3], photo)).max() <= 4
    page.get_by_title("Green").click()
    cut = downloaded(page, "Download PNG", tmp_path)
    mean, most, alpha = differences(cut, cutout_of(stack, file["buffer"], background="#00b140"))
    assert (mean <= 0.5, most <= 4, alpha) == (True, True, 0), (mean, most, alpha)


IS_UNUSUAL = """async (files) => {
    const { headerOf } = await import("/static/photo/headers.js");
    const bytes = async (data) => new Uint8Array(await (await fetch(data)).arrayBuffer());
    return Promise.all(files.map(async (data) => (await headerOf(await bytes(data))).isUnusual));
}"""


def test_photos_are_not_shrunk_where_browsers_draw_a_formula_through_a_profiles_values(page: Page):
    p3, prophoto, srgb = (colours.SPACES[name] for name in ("p3", "prophoto", "srgb"))
    cases = {
        b"": False,
        p3.icc(): False,
        srgb.icc(version=2): False,  # the usual profile of sRGB is a list of values
        p3.icc(version=2): False,
        prophoto.icc(): False,
        prophoto.icc(version=2): True,
        colours.grey_icc(colours.L_STAR, version=2): True,
        colours.table_icc(srgb, extra_bytes=70_000): True,
    }
    kinds = ("JPEG", "PNG", "WEBP", "AVIF")
    picture = Image.new("RGB", (16, 16))
    files = [
        as_file(picture, kind, **({"icc_profile": profile} if profile else {}))
        for kind in kinds
        for profile in cases
    ]

    found = page.evaluate(IS_UNUSUAL, addresses_of(files))

    assert found == list(cases.values()) * len(kinds)


def test_a_size_that_differs_from_the_servers_is_said_and_the_servers_picture_shown(page: Page):
    def swap_sides(route: Route) -> None:
        if route.request.method == "DELETE":
            return route.continue_()
        answer = route.fetch()
        job = answer.json()
        if isinstance(job, dict) and job.get("result"):
            job["result"].update(width=job["result"]["height"], height=job["result"]["width"] + 1)
        route.fulfill(response=answer, **({"json": job} if job else {}))

    page.route("**/api/v1/events*", lambda route: route.abort())
    page.route("**/api/v1/jobs**", swap_sides)

    pick(page, ASTRONAUT)
    drawn(page)

    expect(page.locator(".notes li").first).to_contain_text("512 × 513")
    assert page.get_attribute(".viewer", "data-compare") == "true"
    assert page.evaluate("document.querySelector('.before').height") == 512
    page.unroute_all(behavior="ignoreErrors")  # nor is what the page asks for as it is left


def test_notes_of_a_result_are_shown_in_words(page: Page):
    frames = [bottle(), bottle().rotate(90).resize((240, SIDE))]
    data = io.BytesIO()
    frames[0].save(data, "WEBP", save_all=True, append_images=frames[1:], lossless=True)

    pick(page, {"name": "a.webp", "mimeType": "image/webp", "buffer": data.getvalue()})
    drawn(page)

    expect(page.locator(".notes li")).to_have_text(
        "The file has more than one picture; the first one was used."
    )


def test_a_picture_of_ones_own_is_the_background_and_sent_only_if_the_server_writes_the_file(
    page: Page, tmp_path: Path
):
    pick(page, ASTRONAUT)
    drawn(page)
    page.traffic.requests.clear()
    ground = as_file(Image.new("RGB", (40, 30), (10, 20, 230)), "PNG")
    page.set_input_files(".backgrounds [type=file]", [ground])
    expect(page.get_by_label("Own picture")).to_be_checked()

    made_here = downloaded(page, "Download PNG", tmp_path)
    assert page.traffic.puts == []
    by_server = downloaded(page, "AVIF", tmp_path)
    assert len(page.traffic.puts) == 1

    assert made_here.mode == "RGB"
    for picture in (made_here, by_server):
        assert picture.size == (512, 512)
        assert (
            np.abs(np.subtract(picture.convert("RGB").getpixel((480, 30)), (10, 20, 230))).max()
            <= 4
        )


def test_the_mask_of_a_shrunk_photo_follows_the_photo_at_its_full_size(
    page: Page, stack: Any, tmp_path: Path
):
    wide = Image.new("RGB", (2400, 800), (235, 232, 226))
    wide.paste(bottle().resize((600, 800), Image.Resampling.LANCZOS), (900, 0))
    file = as_file(wide, "JPEG", quality=98)
    pick(page, file)
    drawn(page)

    mask = downloaded(page, "Mask", tmp_path)

    theirs = cutout_of(stack, file["buffer"]).getchannel("A")
    assert (mask.mode, mask.size) == ("L", theirs.size) == ("L", (2400, 800))
    difference = np.abs(np.subtract(mask, theirs, dtype=int))
    assert difference.mean() <= 0.5
    assert (difference > 40).mean() <= 0.001


def test_every_format_that_is_accepted_is_named_and_can_be_chosen(page: Page):
    names = ("JPEG", "PNG", "WebP", "AVIF", "HEIC", "TIFF", "BMP", "GIF", "JPEG XL")

    expect(page.locator(".drop small")).to_have_text(f"{', '.join(names)}, up to 25 MiB")
    chosen = page.get_attribute(".drop input", "accept").split(",")
    assert set(ENDINGS) <= {*chosen, ".jpg", ".jpeg", ".png"}
    assert "image/*" in chosen
