"""`pixelmill models new NAME`: writes the file that a model of your own starts from."""

from pathlib import Path

from tasks.errors import BadInput
from tasks.models import registry

TEMPLATE = Path(__file__).parent / "new_model.txt"


def write(name: str, folder: Path) -> Path:
    """Write `folder/NAME.py`, a complete model that works; returns its path.

    Raises BadInput for a name that no module can have or a built-in model has, and for a file
    that exists.
    """
    if not name.isidentifier() or name != name.lower() or name.startswith("_"):
        raise BadInput(
            f"{name!r} is not a name for a model; "
            "expected lower-case letters, digits and underscores, e.g. my_model"
        )
    if name in registry.names(""):
        raise BadInput(f"there is a model {name!r} already; choose another name")
    file = folder / f"{name}.py"
    try:
        with file.open("x") as new:
            new.write(TEMPLATE.read_text())
    except FileExistsError as error:
        raise BadInput(f"{file} exists already; nothing was written") from error
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}") from error
    return file


def how_to_serve(file: Path) -> str:
    """The command that serves the model of this file beside the built-in ones."""
    folder = file.parent.resolve()
    setting = "" if folder == registry.FOLDER else f"PIXELMILL_MODEL_PATHS={folder} "
    return f"{setting}pixelmill up"
