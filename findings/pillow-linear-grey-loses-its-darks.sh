#!/bin/sh
# Pillow's ImageCms: a profile of grey in linear light is converted to sRGB by a coarse table, so the darks come
# out up to 10 levels too dark (1 becomes 6 instead of 13). The same curve in a profile of RGB is exact, and so is
# grey with Flags.NOOPTIMIZE; Flags.HIGHRESPRECALC helps little.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cat > "$folder/finding.py" <<'PYTHON'
import io
import struct
import sys

from PIL import Image, ImageCms, __version__

D50 = struct.pack(">3i", 63190, 65536, 54061)


def profile(space, tags):
    table, body, place = b"", b"", 132 + 12 * len(tags)
    for name, value in tags:
        table += struct.pack(">4sII", name, place + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"test", 2 << 24, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s28x", 2026, 1, 1, 0, 0, 0, b"acsp") + D50
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def shown(data, mode, picture, flags):
    source = ImageCms.ImageCmsProfile(io.BytesIO(data))
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, mode, "RGB", flags=flags)
    return ImageCms.applyTransform(picture, transform).getchannel("G").tobytes()


def encoded(light):
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


xyz = lambda *values: b"XYZ " + bytes(4) + struct.pack(">3i", *values)
white = (b"wtpt", b"XYZ " + bytes(4) + D50)
linear = b"curv" + bytes(8)
primaries = ((b"rXYZ", xyz(28578, 14581, 912)), (b"gXYZ", xyz(25242, 46981, 6362)),
             (b"bXYZ", xyz(9370, 3974, 46787)))
grey = profile(b"GRAY", (white, (b"kTRC", linear)))
rgb = profile(b"RGB ", (white, *primaries, (b"rTRC", linear), (b"gTRC", linear), (b"bTRC", linear)))
ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
wanted = [round(255 * encoded(value / 255)) for value in range(256)]


def off(values):
    return max(abs(a - b) for a, b in zip(values, wanted))


flags = ImageCms.Flags
usual, exact = (shown(grey, "L", ramp, flag) for flag in (flags.NONE, flags.NOOPTIMIZE))
in_rgb = shown(rgb, "RGB", ramp.convert("RGB"), flags.NONE)
print("Pillow", __version__, "LittleCMS", ImageCms.core.littlecms_version)
print("linear grey 1 to 8: right", wanted[1:9], "usual", list(usual[1:9]), "exact", list(exact[1:9]))
print("largest difference: grey", off(usual), "grey with NOOPTIMIZE", off(exact), "RGB", off(in_rgb))
same = off(usual) >= 5 and off(exact) <= 1 and off(in_rgb) <= 1
print("ImageCms reads grey in linear light too dark, by 5 levels or more, and RGB right:", same)
sys.exit(not same)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
