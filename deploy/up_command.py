"""`pixelmill up` as the command line has it."""

from typing import Annotated

import typer


def up(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 for other machines too.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Address of the page as people type it into a browser.")
    ] = None,
    autoscale: Annotated[
        str | None,
        typer.Option(
            metavar="LEAST..MOST",
            help="Start and stop gpu workers as the work needs, for example 1..4.",
        ),
    ] = None,
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C.

    Servers, web and workers are started; data, passwords and logs are kept in the folder `var`.
    """
    from deploy.local.up import up as start

    raise SystemExit(start(host=host, port=port, public_url=public_url, pilot_workers=autoscale))
