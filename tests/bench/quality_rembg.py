"""The side of rembg in quality.py: mattes of all photos in a folder, plain and with alpha matting.

Started by the Python of rembg's own environment: `python quality_rembg.py PHOTOS TARGET`. Writes
TARGET/raw/NAME.png and TARGET/matting/NAME.png, and prints the CPU seconds of each as JSON.
"""

import json
import sys
import time
from pathlib import Path

import rembg
from PIL import Image

WAYS = {"raw": False, "matting": True}


def main() -> None:
    """Each photo in both ways; the first one twice, since numba compiles what it runs first."""
    photos, target = sorted(Path(sys.argv[1]).glob("*.png")), Path(sys.argv[2])
    session, taken = rembg.new_session("u2netp"), {}
    for way, alpha_matting in WAYS.items():
        (target / way).mkdir(parents=True)
        for photo in [photos[0], *photos]:
            with Image.open(photo) as opened:
                image = opened.convert("RGB")
            began = time.process_time()
            cutout = rembg.remove(image, session=session, alpha_matting=alpha_matting)
            taken[f"{photo.stem} {way}"] = time.process_time() - began
            cutout.getchannel("A").save(target / way / photo.name)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
