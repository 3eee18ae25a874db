"""How a command says that it failed."""

from typing import NoReturn

import typer


def fail(message: str, hint: str | None, code: int = 1) -> NoReturn:
    """Print why, and what to do about it, and end with this exit code."""
    line = typer.style(message, fg="red") + (f"\n{hint}" if hint else "")
    typer.echo(line, err=True)
    raise SystemExit(code)
