"""How a command prints a table: nothing is cut off, and programs find a row on a line."""

from rich.console import Console
from rich.table import Table

WIDTH_OF_FILES = 1000
"""Columns where output is no terminal."""


def print_table(table: Table, console: Console | None = None) -> None:
    """Print it, on standard output by default. Where it is too wide, what is long goes on on the
    next line: a name that ends in an ellipsis could not be given to another command."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console.width = WIDTH_OF_FILES
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
