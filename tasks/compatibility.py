"""Whether this worker may do a run: it must understand it, and have its model's code and weights.

During a rolling upgrade some workers do and others do not. A worker that does not releases the run;
some seconds later it is requeued, for the versions that workers announce by then.
"""

from functools import cache

from storage.jobs.spec import NewerVersion, Spec, spec_from_json
from tasks.errors import Unavailable
from tasks.message import PROBE
from tasks.models import registry, weights
from tasks.models.engines import ENGINES, Engine


class OtherVersion(Unavailable):
    """This worker is older or newer than the run; another worker may do it."""

    code = "other_version"

    def __init__(
        self, message: str, hint: str = "An update is under way. Try again in a minute."
    ) -> None:
        super().__init__(message, hint=hint)


def read_spec(text: str) -> Spec:
    """The spec in a run's record. Raises OtherVersion if a newer Pixelmill wrote it."""
    try:
        return spec_from_json(text)
    except NewerVersion as error:
        raise OtherVersion(str(error)) from error


def check(spec: Spec, engine: Engine | None = None) -> None:
    """Raises OtherVersion unless this worker has the model that the run was requested for.

    `engine`: the only one whose weights count; None, for workers that run no network: any.
    """
    if spec.model.startswith(PROBE):  # it tests whether work gets through, of whatever version
        return
    try:
        code = registry.code_digest(spec.model)
    except LookupError as error:
        raise OtherVersion(f"this worker knows no model {spec.model!r}") from error
    wanted = ENGINES if engine is None else (engine,)
    if code != spec.code and registry.has_changed(spec.model):
        raise OtherVersion(
            f"the file of {spec.model!r} has changed since this worker read it",
            "Restart all workers: each reads a model's file once, as it starts.",
        )
    if code != spec.code:
        raise OtherVersion(f"this worker has other code of {spec.model!r} than the run needs")
    if spec.weights not in {_weights(spec.model, code, one) for one in wanted}:
        raise OtherVersion(f"this worker has other weights of {spec.model!r} than the run needs")


@cache  # every stage of every run asks; other code may name other weights
def _weights(model: str, code: str, engine: Engine) -> str:
    return weights.digest(registry.get(model), engine)
