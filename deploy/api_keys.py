"""`pixelmill keys`: makes, lists and revokes API keys."""

from typing import Annotated

import typer

from deploy.client.command import AsJson
from tasks.errors import BadInput

app = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke API keys.",
    epilog="Example: pixelmill keys add ada --name laptop --days 90",
)

User = Annotated[str, typer.Argument(help="Name of the account.")]


@app.command(epilog="Example: pixelmill keys add ada --scope read --days 30")
def add(
    user: User,
    name: Annotated[str, typer.Option(help="What the key is for, as lists show it.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="run, read or admin; may be repeated. Without any: run and read."),
    ] = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires.", min=0)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the key alone.")] = False,
) -> None:
    """Make an API key of an account, and print it: this once."""
    from deploy import key_store

    made = key_store.add(user, name=name, scopes=scope, days=days)
    print(made)
    if not quiet:
        typer.echo("Write it down: it is not shown again.", err=True)


@app.command("list", epilog="Example: pixelmill keys list ada --json")
def list_(user: User, as_json: AsJson = False) -> None:
    """List the API keys of an account, without the keys themselves."""
    import json

    from deploy import key_store

    listed = key_store.listed(user)
    if as_json:
        print(json.dumps([key_store.described(key) for key in listed], indent=1))
        return
    for key in listed:
        print(key_store.line(key))


@app.command(epilog="Example: pixelmill keys revoke ada 0123456789abcdef")
def revoke(
    user: User, key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")]
) -> None:
    """End an API key: within five seconds, no process accepts it any more."""
    from deploy import key_store

    if not key_store.revoke(user, key_id):
        raise BadInput(
            f"{user} has no API key {key_id!r}", hint=f"`pixelmill keys list {user}` lists them."
        )
    print(f"The key {key_id} of {user} has ended.")
