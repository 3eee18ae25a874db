"""`make bench-colour`: are colours right? 200 pictures over format, depth, space and transparency.

What the models get of each file is compared with the conversion by the space's formulas in full
precision, for profiles by tables and of inks by LittleCMS colour by colour, and with what Chromium
shows. Values that are compressed with losses are decoded by Pillow for that. Differences are in
levels of 8 bits; transparent pictures are compared over white. HDR is shown without a goal, as each
program maps its brightness in its own way.
"""

import argparse
import base64
import shutil
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from colour_pictures import PICTURES, Case, Pixels, cases
from table import save as save_figures
from table import show, verdict

from tasks.imaging import codec, guard


def ours(case: Case) -> Pixels:
    return codec.decode(case.data, guard.check(case.data), max_side=0).image


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


def differences(got: Pixels, wanted: Pixels) -> tuple[float, float]:
    """(mean, max) in levels of 8 bits."""
    difference = abs(got.astype(float) - wanted.astype(float))
    return float(difference.mean()), float(difference.max())


Row = tuple[Case, tuple[float, float], tuple[float, float] | None]


def measure(with_chromium: bool) -> list[Row]:
    some = cases()
    shown = shown_by_chromium(some) if with_chromium else iter([None] * len(some))
    rows = []
    for case, theirs in zip(some, shown, strict=True):
        image = ours(case)
        wanted = np.rint(case.wanted * 255)
        rows.append(
            (
                case,
                differences(image, wanted),
                None if theirs is None else differences(image, theirs),
            )
        )
    return rows


def grouped(rows: Sequence[Row], key: Callable[[Case], str]) -> list[tuple[str, ...]]:
    """One line per group: its pictures, and the means and largest differences."""
    lines = []
    for name in dict.fromkeys(key(case) for case, _, _ in rows):
        group = [row for row in rows if key(row[0]) == name]
        formula = [row[1] for row in group]
        chromium = [row[2] for row in group if row[2]]
        lines.append((name, str(len(group)), *worst(formula), *worst(chromium)))
    return lines


def worst(pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    if not pairs:
        return "-", "-"
    return f"{max(mean for mean, _ in pairs):.2f}", f"{max(most for _, most in pairs):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-chromium", action="store_true", help="compare with the formulas only")
    parser.add_argument("--list", action="store_true", help="a line per picture")
    options = parser.parse_args()
    rows = measure(not options.no_chromium)
    header = ("", "pictures", "mean", "max", "Chromium: mean", "max")
    plain, hdr = [r for r in rows if not r[0].is_hdr], [r for r in rows if r[0].is_hdr]
    show("By format and depth (the largest of each)", header, grouped(plain, lambda c: c.format))
    show("By colour space", header, grouped(plain, lambda c: c.space))
    show("By how it is stated", header, grouped(plain, lambda c: c.stated))
    if options.list:
        show("Each", header, grouped(rows, lambda c: f"{c.format} {c.space} {c.stated}"))
    theirs = [row[2] for row in hdr if row[2]]
    if theirs:
        show("HDR, no goal", ("", "mean", "max"), [("to Chromium", *worst(theirs))])
    figures = {
        "pictures": float(len(plain)),
        "mean": max(row[1][0] for row in plain),
        "max": max(row[1][1] for row in plain),
    }
    verdict("pictures", figures["pictures"], PICTURES, at_most=False)
    verdict("largest mean difference to the formulas", round(figures["mean"], 3), 1)
    verdict("largest difference to the formulas", figures["max"], 4)
    if seen := [row[2] for row in plain if row[2]]:
        figures |= {
            "chromium_mean": max(m for m, _ in seen),
            "chromium_max": max(m for _, m in seen),
        }
        verdict("largest mean difference to Chromium", round(figures["chromium_mean"], 3), 1)
        verdict("largest difference to Chromium", figures["chromium_max"], 4)
    save_figures("colour", {name: round(value, 3) for name, value in figures.items()})


if __name__ == "__main__":
    main()
