"""What Gradio imports and the page does not use: pandas, and `mcp` where that is installed.

They are half of Gradio's import, and 42 of its 81 MiB of memory. Gradio itself works without `mcp`
(it is an extra of it), and touches pandas only for data frames.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

HIDDEN, LATER = "mcp", "pandas"


@contextmanager
def left_out() -> Iterator[None]:
    """While Gradio is imported within this context, `mcp` is not found; pandas is imported by the
    first use of anything in it."""
    _postpone(LATER)
    hide = _Hide()
    sys.meta_path.insert(0, hide)
    try:
        yield
    finally:
        sys.meta_path.remove(hide)


class _Hide(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == HIDDEN:
            raise ModuleNotFoundError(f"{name} is left out", name=name)
        return None


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _postpone(name: str) -> None:
    spec = None if name in sys.modules else find_spec(name)
    if spec is None:
        return
    module = _Later(name)
    # Looked at by whoever goes through all modules: no use of it.
    module.__spec__, module.__file__ = spec, spec.origin
    sys.modules[name] = module
