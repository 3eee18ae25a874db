#!/bin/sh
# NumPy: `photo.mean(axis=(0, 1))`, the usual way to the mean of each channel, of a bright float32 photo
# of 24 megapixels is wrong by a quarter: the sum of a channel is kept in float32 and stops growing where
# one more pixel is less than half of its last digit. `photo.mean()` of the same array is right, since
# NumPy adds in pairs along the fastest axis, and only there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6
cat > "$folder/finding.py" <<'PYTHON'
import sys

import numpy as np

print("NumPy", np.__version__)
photo = np.random.default_rng(0).normal(200, 10, (4000, 6000, 3)).clip(0, 255).astype(np.float32)
channels = photo.mean(axis=(0, 1))
print("Seen: mean of the channels:", channels.round(1).tolist(), "- of 24 million pixels around 200")
print("Seen: mean of all:", float(photo.mean().round(1)))
print("Seen: mean of the channels, dtype=float64:",
      photo.mean(axis=(0, 1), dtype=np.float64).round(1).tolist())
print("Seen: standard deviation of the channels, which is 10:",
      photo.std(axis=(0, 1)).astype(float).round(1).tolist())
is_so = bool((channels < 190).all()) and abs(photo.mean() - 200) < 1
print("The mean of each channel of a bright photo in float32 is far too low:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
