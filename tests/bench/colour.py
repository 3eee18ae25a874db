"""`make bench-colour`: are colours right? 200 pictures over format, depth, space and transparency.

What the models get of each file is compared with the exact conversion (by the space's formulas in
full precision; for profiles by tables and of inks by LittleCMS colour by colour), with what
Pillow's ImageCms makes of it colour by colour. So is what the page shows: Chromium's own picture
where the result says that browsers agree, else the server's. ImageCms's usual way goes through a
grid of 8 bits and is not exact itself: how far is printed, without a goal, and how far Chromium is
in all files. Values that are compressed with losses are decoded by Pillow for that. Differences are
in levels of 8 bits and in CIEDE2000; transparent pictures are compared over white. HDR is shown
without a goal, as each program maps its brightness in its own way.
"""

import argparse
import base64
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from colour_pictures import PICTURES, Case, Pixels, cases
from delta_e import ciede2000, lab
from PIL import Image, ImageCms
from table import save as save_figures
from table import show, verdict

from tasks.imaging import codec, guard
from tasks.imaging.codec import Decoded


def ours(case: Case) -> Decoded:
    return codec.decode(case.data, guard.check(case.data), max_side=0)


def shown_by_pillow(case: Case, flags: ImageCms.Flags) -> Pixels | None:
    """By ImageCms; None without a profile, and for 16 bits: it has 8."""
    with Image.open(io.BytesIO(case.data)) as picture:
        profile = picture.info.get("icc_profile")
        colours = {"RGBA": "RGB"}.get(picture.mode, picture.mode)
        if not profile or guard.check(case.data).bits > 8 or colours not in ("RGB", "L", "CMYK"):
            return None
        source, target = (
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
        )
        if source.profile.xcolor_space.strip() != {"L": "GRAY"}.get(colours, colours):
            return None
        shown = ImageCms.profileToProfile(
            picture.convert(colours), source, target, outputMode="RGB", flags=flags
        )
        if picture.mode != "RGBA":
            return np.asarray(shown)
        shown.putalpha(picture.getchannel("A"))
        white = Image.new("RGBA", picture.size, "white")
        return np.asarray(Image.alpha_composite(white, shown).convert("RGB"))


READ_BACK = """async (data) => {
  const picture = new Image();
  picture.src = data;
  await picture.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.fillStyle = 'white';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}"""
"""What Chromium shows over white, in sRGB."""


def shown_by_chromium(some: Sequence[Case]) -> Iterator[Pixels | None]:
    """H x W x 3 of each; None for what it is not asked, since it does not claim to show it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        page = browser.new_page()
        for case in some:
            if not case.in_chromium:
                yield None
                continue
            kind = guard.check(case.data).media_type
            address = f"data:{kind};base64,{base64.b64encode(case.data).decode()}"
            values = np.array(page.evaluate(READ_BACK, address), np.uint8)
            yield values.reshape(case.wanted.shape[0], case.wanted.shape[1], 4)[..., :3]
        browser.close()


@dataclass(frozen=True)
class Difference:
    """Between two pictures."""

    mean: float
    """In levels of 8 bits, as the next one."""
    most: float
    mean_delta_e: float
    """CIEDE2000, as the next one."""
    most_delta_e: float


def difference(got: Pixels, wanted: Pixels) -> Difference:
    levels = abs(got.astype(float) - wanted.astype(float))
    seen = ciede2000(lab(got), lab(wanted))
    return Difference(*(float(v) for v in (levels.mean(), levels.max(), seen.mean(), seen.max())))


@dataclass(frozen=True)
class Row:
    """A picture, and how far it is from what others make of it; None: they are not asked."""

    case: Case
    exact: Difference
    pillow: Difference | None
    usual_pillow: Difference | None
    chromium: Difference | None
    page: Difference | None
    """What the page shows, from the exact picture."""


def measure(with_chromium: bool) -> list[Row]:
    some = cases()
    shown = shown_by_chromium(some) if with_chromium else iter([None] * len(some))
    rows = []
    for case, by_chromium in zip(some, shown, strict=True):
        decoded, exact = ours(case), np.rint(case.wanted * 255)
        image = decoded.image
        by_page = by_chromium if decoded.browsers_agree else image
        by_pillow = shown_by_pillow(case, ImageCms.Flags.NOOPTIMIZE)
        usual = shown_by_pillow(case, ImageCms.Flags.NONE)
        rows.append(
            Row(
                case,
                difference(image, exact),
                None if by_pillow is None else difference(image, by_pillow),
                None if by_pillow is None or usual is None else difference(usual, by_pillow),
                None if by_chromium is None else difference(image, by_chromium),
                None if by_page is None else difference(by_page, exact),
            )
        )
    return rows


def grouped(rows: Sequence[Row], key: Callable[[Case], str]) -> list[tuple[str, ...]]:
    """One line per group: its pictures, and the largest of their means and of their differences."""
    lines = []
    for name in dict.fromkeys(key(row.case) for row in rows):
        group = [row for row in rows if key(row.case) == name]
        others = ([row.exact for row in group], [row.pillow for row in group],
                  [row.chromium for row in group])  # fmt: skip
        lines.append((name, str(len(group)), *(cell for one in others for cell in worst(one))))
    return lines


def worst(pairs: Sequence[Difference | None]) -> tuple[str, ...]:
    known = [pair for pair in pairs if pair]
    if not known:
        return "-", "-", "-", "-"
    return (
        f"{max(one.mean for one in known):.2f}",
        f"{max(one.most for one in known):.0f}",
        f"{max(one.mean_delta_e for one in known):.2f}",
        f"{max(one.most_delta_e for one in known):.1f}",
    )


HEADER = ("", "pictures", "exact: mean", "max", "dE", "max", "Pillow: mean", "max", "dE", "max",
          "Chromium: mean", "max", "dE", "max")  # fmt: skip


def judge(name: str, differences: Sequence[Difference | None]) -> dict[str, float]:
    """Print whether the goal is reached: a mean of 1 and at most 4 levels in every picture."""
    known = [one for one in differences if one]
    if not known:
        return {}
    figures = {
        "mean": max(one.mean for one in known),
        "max": max(one.most for one in known),
        "mean_delta_e": max(one.mean_delta_e for one in known),
        "max_delta_e": max(one.most_delta_e for one in known),
    }
    verdict(f"{name}: largest mean difference, levels", round(figures["mean"], 3), 1)
    verdict(f"{name}: largest difference, levels", figures["max"], 4)
    means = float(np.mean([one.mean_delta_e for one in known]))
    of_all = f"of all {len(known)} pictures {means:.3f}"
    of_worst = (
        f"of the worst {figures['mean_delta_e']:.3f}, of a pixel {figures['max_delta_e']:.1f}"
    )
    print(f"         {name}: delta-E (CIEDE2000) {of_all}, {of_worst}")
    return {f"{name}_{key}": value for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-chromium", action="store_true", help="leave Chromium out")
    parser.add_argument("--list", action="store_true", help="a line per picture")
    options = parser.parse_args()
    rows = measure(not options.no_chromium)
    plain, hdr = [r for r in rows if not r.case.is_hdr], [r for r in rows if r.case.is_hdr]
    show("By format and depth (the largest of each)", HEADER, grouped(plain, lambda c: c.format))
    show("By colour space", HEADER, grouped(plain, lambda c: c.space))
    show("By how it is stated", HEADER, grouped(plain, lambda c: c.stated))
    if options.list:
        show("Each", HEADER, grouped(rows, lambda c: f"{c.format} {c.space} {c.stated}"))
    theirs = [row.chromium for row in hdr]
    show("HDR, no goal", ("", "mean", "max", "dE", "max"), [("to Chromium", *worst(theirs))])
    verdict("pictures", len(plain), PICTURES, at_most=False)
    figures = {"pictures": float(len(plain))}
    tables = [row for row in plain if row.case.stated == "table"]
    others = [row for row in plain if row.case.stated != "table"]
    figures |= judge("exact, by formulas", [row.exact for row in others])
    figures |= judge("exact, tables", [row.exact for row in tables])
    figures |= judge("Pillow", [row.pillow for row in plain])
    usual = [row.usual_pillow for row in plain if row.usual_pillow]
    show("Pillow's usual way from its exact one, no goal", ("pictures", "mean", "max", "dE", "max"),
         [(str(len(usual)), *worst(usual))])  # fmt: skip
    if not options.no_chromium:
        by_chromium = [row.chromium for row in plain if row.chromium]
        show("Chromium's own, of all files, no goal", ("pictures", "mean", "max", "dE", "max"),
             [(str(len(by_chromium)), *worst(by_chromium))])  # fmt: skip
        figures |= judge("Page", [row.page for row in plain])
    save_figures("colour", {name: round(value, 3) for name, value in figures.items()})


if __name__ == "__main__":
    main()
