"""The model card: everything that web, command line and admission know about a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.catalogue import ModelCard, ProfileCard
from tasks.models import registry, weights
from tasks.models.base import Model
from tasks.models.engines import Engine
from tasks.settings import names_in, settings
from workers.gpu.loaded import Loaded


def model_card(
    name: str, loaded: Mapping[str, Loaded], engine: Engine = "torch", slices: float = 1
) -> ModelCard:
    """The card of a model, for the catalogue.

    `loaded`: variant -> what this device has loaded. Profiles that are not loaded are not offered.
    `engine`: what runs it. `slices`: of a volume, as a mean; what a run costs grows with that.
    """
    model, first = registry.get(name), loaded[name]
    measured = _profile_card(first, slices)
    profiles = {
        profile: _profile_card(loaded[variant], slices)
        for profile in model.profiles
        if (variant := registry.variant_name(name, model, profile)) in loaded
    }
    return {
        "name": name,
        "title": model.title,
        "kind": model.kind,
        "input": model.input,
        "params": _schema(name, model, list(profiles)),
        "profiles": profiles,
        "weights": weights.digest(model, engine),
        "code": registry.code_digest(name),
        "licence": model.licence,
        "intended_use": model.intended_use,
        "texts": model.texts,
        "fallback": model.fallback,
        "decode": model.decode,
        "device": first.on.name,
        "max_batch": measured["max_batch"],
        "cost_ms": measured["cost_ms"],
        "weights_bytes": measured["weights_bytes"],
    }


def _profile_card(loaded: Loaded, slices: float) -> ProfileCard:
    max_batch = loaded.model.max_batch if loaded.pays else 1
    a_ms, b_ms = loaded.cost.a_ms, loaded.cost.b_ms * loaded.usual_share
    if loaded.model.input == "volume":  # a run is many batches
        max_batch, a_ms, b_ms = 1, 0.0, slices * (b_ms + a_ms / max_batch)
    files = loaded.model.weights.values()
    return {
        "max_batch": max_batch,
        "cost_ms": {"a": round(a_ms, 3), "b": round(b_ms, 3)},
        "weights_bytes": sum(weight.bytes for weight in files),
        "licence": "; ".join(dict.fromkeys(weight.licence for weight in files)),
    }


def _schema(name: str, model: Model, profiles: Sequence[str]) -> dict[str, Any]:
    """JSON schema of the parameters; its profiles are those that are loaded."""
    schema = model.params.model_json_schema()
    if not profiles:
        return schema
    field = schema["properties"]["profile"]
    field["enum"] = profiles
    wanted = {registry.variant_name(name, model, profile): profile for profile in profiles}
    for chosen in names_in(settings().default_profiles):
        field["default"] = wanted.get(chosen, field["default"])
    if missing := [profile for profile in model.profiles if profile not in profiles]:
        variants = ",".join(registry.variant_name(name, model, profile) for profile in missing)
        hint = f"Whoever runs this server can add it: PIXELMILL_PROFILES={variants}"
        field["description"] = f"{field.get('description', '')} {hint}".strip()
    return schema
