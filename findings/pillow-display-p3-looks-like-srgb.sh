#!/bin/sh
# Pillow and OpenCV: AVIF and PNG can say their colours by four numbers (CICP: `nclx` in AVIF, the chunk
# `cICP` in PNG) in place of an ICC profile. A picture that says Display P3 that way is decoded to the same
# numbers as one that says sRGB, and nothing in what Pillow hands out tells them apart, so nobody after it can
# convert. Browsers show the red below as 255, 0, 0; passed on as sRGB it is a duller 234, 51, 35.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93
cat > "$folder/finding.py" <<'PYTHON'
import io
import struct
import sys
import zlib

import cv2
import numpy as np
import PIL
from PIL import Image

RED = (234, 51, 35)  # pure Display P3 red has these numbers in sRGB once it is written as P3
P3, SRGB_CURVE = 12, 13  # as ITU-T H.273 numbers them


def written(name, **options):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), RED).save(file, name, **options)
    return file.getvalue()


def png_as_p3(png):
    chunk = b"cICP" + bytes([P3, SRGB_CURVE, 0, 1])
    chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + chunk + png[33:]  # behind IHDR


def avif_as_p3(avif):
    primaries = avif.index(b"colrnclx") + 8
    return avif[:primaries] + struct.pack(">H", P3) + avif[primaries + 2 :]


print("Pillow", PIL.__version__, "- OpenCV", cv2.__version__)
png, avif = written("PNG"), written("AVIF", quality=100, subsampling="4:4:4")
is_so = True
for name, srgb, p3 in (("PNG", png, png_as_p3(png)), ("AVIF", avif, avif_as_p3(avif))):
    both = [Image.open(io.BytesIO(file)) for file in (srgb, p3)]
    pixels = [picture.convert("RGB").getpixel((9, 9)) for picture in both]
    by_opencv = [
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[9, 9, ::-1].tolist()
        for file in (srgb, p3)
    ]
    print(f"Seen: {name}, sRGB and P3: Pillow {pixels}, OpenCV {by_opencv}")
    print(f"Seen: {name}, sRGB and P3: Pillow's info", [picture.info for picture in both])
    is_so &= srgb != p3 and pixels[0] == pixels[1] and both[0].info == both[1].info
    is_so &= by_opencv[0] == by_opencv[1]
print("A picture that says Display P3 by CICP cannot be told from an sRGB one:", bool(is_so))
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
