"""The array types that functions exchange. Everything else is converted at the edge."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""H x W x 3, RGB, 0..255, upright, C-contiguous."""

NO_IMAGE: Image = np.zeros((0, 0, 3), np.uint8)
"""What a model gets that needs no pixels."""

Alpha = NDArray[np.uint8]
"""H x W, 0 transparent .. 255 opaque."""

Cutout = NDArray[np.uint8]
"""H x W x 4, RGBA, 0..255, not premultiplied, RGB zero where alpha is zero."""

Tensor = NDArray[np.float32]
"""What goes into a model and comes out, for one image: C x H x W. The model's file says the
range."""
