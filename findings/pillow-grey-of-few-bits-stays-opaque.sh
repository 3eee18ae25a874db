#!/bin/sh
# Pillow: a grey PNG of 2 or 4 bits may name one value that stands for transparent (tRNS). Pillow stretches the
# values to 8 bits, but not that one, so `convert("RGBA")` makes the picture opaque, or another value
# transparent. Grey of 1, 8 and 16 bits is right. A service that keeps transparency loses it for line art.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cat > "$folder/finding.py" <<'PYTHON'
import io
import struct
import sys
import zlib

import PIL
from PIL import Image


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(bits, key):
    """8 x 8, of which every value is `key`, which stands for transparent."""
    row = b"\0" + bytes(sum(key << shift for shift in range(0, 8, bits)) for _ in range(bits))
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", key))]
    parts += [chunk(b"IDAT", zlib.compress(row * 8)), chunk(b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


print("Pillow", PIL.__version__)
alphas = {bits: Image.open(picture(bits, 1)).convert("RGBA").getpixel((0, 0))[3] for bits in (1, 2, 4, 8)}
print("Seen: the alpha of a value that stands for transparent, by bits:", alphas)
is_so = alphas == {1: 0, 2: 255, 4: 255, 8: 0}
print("Pillow takes the transparent grey of 2 and 4 bits for opaque:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
