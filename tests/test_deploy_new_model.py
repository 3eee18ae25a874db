"""`pixelmill models new`, and the walk-through of docs/own-model.md."""

from pathlib import Path

import numpy as np
import pytest

from deploy import new_model
from tasks.errors import BadInput
from tasks.imaging.types import Image
from tasks.models import registry
from workers.gpu.accelerator import Cpu
from workers.gpu.device import Device

DOCS = Path(__file__).parents[1] / "docs" / "own-model.md"


@pytest.fixture(autouse=True)
def folder(model_folder: Path) -> Path:
    return model_folder


def alpha_of(name: str) -> Image:
    """The model's matte of a photo whose right half is bright, through a device."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 250
    model, device = registry.get(name), Device(Cpu())
    device.load(name)
    array = model.preprocess(image, model.params())
    (answer,) = device.run((name, array.shape, "float32"), [array])
    assert not isinstance(answer, Exception)
    alpha: Image = model.postprocess(answer.array, image, model.params(), ()).images["alpha"]
    return alpha


def test_the_written_file_loads_and_runs(folder: Path) -> None:
    new_model.write("written", folder)

    alpha = alpha_of("written")

    assert alpha.shape == (40, 60)
    assert (alpha[:, :25] == 0).all() and (alpha[:, 35:] == 255).all()


def test_the_code_of_the_documentation_loads_and_runs(folder: Path) -> None:
    code = DOCS.read_text().split("```python\n")[-1].split("```")[0]
    (folder / "told.py").write_text(code)

    assert alpha_of("told")[20, 50] == 255
    assert code == new_model.TEMPLATE.read_text()


def test_what_serves_a_new_model_is_said(folder: Path) -> None:
    own = new_model.how_to_serve(new_model.write("own", folder))

    assert own == f"PIXELMILL_MODEL_PATHS={folder} pixelmill up"
    assert new_model.how_to_serve(registry.FOLDER / "built_in.py") == "pixelmill up"


@pytest.mark.parametrize("name", ["Big", "two words", "_hidden", "1st", "../up"])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadInput, match="not a name for a model"):
        new_model.write(name, folder)


def test_the_name_of_a_built_in_model_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="'matting' already; choose another name"):
        new_model.write("matting", folder)

    assert not list(folder.iterdir())


def test_a_file_that_exists_is_left_alone(folder: Path) -> None:
    (folder / "mine.py").write_text("mine")

    with pytest.raises(BadInput, match="exists"):
        new_model.write("mine", folder)

    assert (folder / "mine.py").read_text() == "mine"
