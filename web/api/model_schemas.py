"""What the route of models answers, for the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from storage.catalogue import GONE_S


class ModelCard(BaseModel):
    """A model that can be used."""

    name: str
    title: str
    kind: Literal["matte", "boxes", "labels", "volume"]
    input: Literal["image", "volume"] = Field(description="What it takes.")
    live: bool = Field(description=f"False after {GONE_S} s without a worker that serves it.")
    params: dict[str, Any] = Field(description="JSON schema of its parameters.")
    licence: str
    intended_use: str
    fallback: str | None
    profiles: dict[str, dict[str, float | str]] = Field(
        description="Of each served value of the parameter `profile`: ms_per_image, weights_bytes, "
        "licence (of the weights)."
    )
    device: str
    ms_per_image: float
    weights: str
    weights_bytes: int
    texts: dict[str, str] = Field(
        default={},
        description="With `lang`: the model's texts in that language, by their English. What has "
        "none is shown in English.",
    )


class Models(BaseModel):
    """The models that workers have announced."""

    models: list[ModelCard]
