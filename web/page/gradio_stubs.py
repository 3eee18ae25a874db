"""Keeps Gradio from writing type stubs when it is imported.

For each of its 80 components Gradio parses the component's module and its .pyi file, and writes the
.pyi file again if it differs: at every import, into the installed package. Nobody here reads them,
and it takes two fifths of the import's five seconds of CPU.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MODULE, FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


class _WithoutStubs(MetaPathFinder):
    """Finds one module as Python does, and takes a function out of it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != MODULE:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def without_stubs(module: ModuleType) -> None:
            execute(module)
            if hasattr(module, FUNCTION):
                setattr(module, FUNCTION, _write_nothing)

        spec.loader.exec_module = without_stubs  # type: ignore[method-assign]
        return spec


def _write_nothing(*_: Any) -> None:
    return


def leave_out() -> None:
    """Call it before Gradio is imported for the first time."""
    if not any(isinstance(finder, _WithoutStubs) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WithoutStubs())
