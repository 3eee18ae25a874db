"""Finding and loading model files."""

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stack import REPOSITORY

from tasks.errors import ModelFailure
from tasks.models import registry
from tasks.models.base import RESERVED
from tasks.settings import settings

TOY = '''"""A toy."""
import torch

from tasks.models.base import Model, Output, Params

class ToyParams(Params):
    {field}: int = 1

MODEL = Model(
    title="{title}", kind="{kind}", params=ToyParams, bins=((8, 8),),
    load=lambda weights, device: None,
    preprocess=lambda image, params: image,
    infer=lambda session, batch: list(batch),
    postprocess=lambda output, image, params, wanted: Output(),
)
'''

PARTS = {"title": "Toy", "field": "sides", "kind": "labels"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a model file into a folder that the settings name."""
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(tmp_path))
    settings.cache_clear()

    def write(name: str, text: str = "", **parts: str) -> Path:
        file = tmp_path / name
        file.write_text(text or TOY.format_map({**PARTS, **parts}))
        return file

    yield write
    settings.cache_clear()


def test_a_file_name_is_a_model_name() -> None:
    names = registry.names("")

    assert {"matting", "classify"} <= set(names)
    helpers = {"base", "cutouts", "downloads", "registry", "weights", "wheels", "__init__"}
    assert not helpers & set(names)
    assert list(names) == sorted(names)


def test_a_file_in_an_extra_folder_is_a_model(write: Write) -> None:
    write("toy.py", title="Toy of a test")

    assert "toy" in registry.names()
    assert registry.get("toy").title == "Toy of a test"


def test_folders_may_be_named_by_the_caller(write: Write, tmp_path: Path) -> None:
    write("toy.py")

    assert "toy" in registry.names(str(tmp_path))
    assert "toy" not in registry.names("")


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"no model 'upscal'; there are: .*matting"):
        registry.get("upscal")


def test_getting_a_model_twice_imports_its_file_once(write: Write) -> None:
    write("twice.py")

    assert registry.get("twice") is registry.get("twice")


def test_a_name_that_is_taken_is_refused(write: Write) -> None:
    file = write("matting.py")

    with pytest.raises(ModelFailure, match="two model files are called 'matting'") as caught:
        registry.names()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["my-model.py", "Toy.py", "2x.py"])
def test_a_file_name_that_is_no_identifier_is_refused(write: Write, name: str) -> None:
    write(name)

    with pytest.raises(ModelFailure, match="cannot be the name of a model"):
        registry.names()


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ModelFailure, match="the model folder /no/such/folder does not exist"):
        registry.names("/no/such/folder")


def test_a_file_that_cannot_be_imported_says_file_and_reason(write: Write) -> None:
    file = write("broken.py", "import no_such_module\n")

    with pytest.raises(ModelFailure, match="No module named 'no_such_module'") as caught:
        registry.get("broken")
    assert str(file) in str(caught.value)


def test_a_broken_file_hurts_no_other_model(write: Write) -> None:
    write("broken.py", "this is no Python\n")

    assert registry.get("classify").kind == "labels"


def test_a_file_without_a_model_is_refused(write: Write) -> None:
    write("empty.py", "X = 1\n")

    with pytest.raises(ModelFailure, match="defines no MODEL"):
        registry.get("empty")


def test_an_unknown_kind_is_refused(write: Write) -> None:
    write("coloured.py", kind="colour")

    with pytest.raises(ModelFailure, match="no kind 'colour'; there are: matte, boxes, labels"):
        registry.get("coloured")


def test_the_folder_of_the_built_in_models_may_be_named() -> None:
    assert registry.names(str(registry.FOLDER)) == registry.names("")


def test_the_import_contracts_name_every_built_in_model() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    named = {contract["name"]: contract for contract in contracts["contracts"]}
    alone = named["models never know each other"]["modules"]
    unknown = named["web and the command line know models by the catalogue alone"]

    models = {f"tasks.models.{name}" for name in registry.names("")}
    assert set(alone) == models
    assert models <= set(unknown["forbidden_modules"])


@pytest.mark.parametrize("field", sorted(RESERVED))
def test_a_parameter_with_a_reserved_name_is_refused(write: Write, field: str) -> None:
    write(f"uses_{field}.py", field=field)

    with pytest.raises(ModelFailure, match=f"a parameter cannot be called {field}"):
        registry.get(f"uses_{field}")


def test_the_code_digest_follows_the_file(write: Write) -> None:
    write("one.py", title="One")
    write("same.py", title="One")
    write("other.py", title="Other")

    assert registry.code_digest("one").startswith("sha256:")
    assert registry.code_digest("one") != registry.code_digest("other")
    assert registry.code_digest("one") == registry.code_digest("one")


def test_built_in_models_prepare_and_finish_without_torch() -> None:
    program = """
import sys
import numpy as np
from tasks.models import registry, weights
image = np.zeros((40, 30, 3), np.uint8)
for name in registry.names(""):
    model = registry.get(name)
    registry.code_digest(name), weights.digest(model)
    if model.input == "image":
        model.preprocess(image, model.params())
matting = registry.get("matting")
matting.postprocess(np.ones((1, 320, 320), np.float32), image, matting.params(), ["cutout"])
assert "torch" not in sys.modules, "torch was imported"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
