#!/bin/sh
# Pillow: saving a picture as AVIF removes the orientation from the `Exif` object that was handed in, since
# AVIF says it in the container. Whoever writes several formats of one photo in turn has all that come after
# the AVIF lie on their side; those before it are right.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cat > "$folder/finding.py" <<'PYTHON'
import io
import sys

import PIL
from PIL import Image, ImageOps

turned = Image.Exif()
turned[0x0112] = 6  # as phones write it: to be turned by 90 degrees
seen = []
for name in ("JPEG", "WEBP", "AVIF", "JPEG", "WEBP"):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, name, exif=turned)
    seen.append((name, ImageOps.exif_transpose(Image.open(file)).size))
print("Pillow", PIL.__version__)
print("Seen: five files of one picture, 40 x 60 when upright, with one Exif object:", seen)
print("Seen: what is left in that object:", dict(turned))
sizes = [size for _, size in seen]
is_so = sizes == [(40, 60)] * 3 + [(60, 40)] * 2 and 0x0112 not in turned
print("Saving an AVIF takes the orientation out of the caller's Exif:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
