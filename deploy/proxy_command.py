"""The command `pixelmill proxy`; imports what it needs when it is called."""

from typing import Annotated, Literal

import typer


def proxy(
    kind: Annotated[Literal["nginx", "haproxy"], typer.Argument(help="Which load balancer.")],
    web: Annotated[list[str], typer.Option(help="host:port of a web process; may be repeated.")],
    certificate: Annotated[
        str, typer.Option(help="Its certificate chain; for haproxy with the key in one file.")
    ] = "/etc/pixelmill/tls.crt",
    key: Annotated[str, typer.Option(help="Key of the certificate (nginx).")] = (
        "/etc/pixelmill/tls.key"
    ),
    listen: Annotated[str, typer.Option(help="Port or address:port for https.")] = "443",
    http_listen: Annotated[
        str, typer.Option(help="The same for http, which is redirected to https.")
    ] = "80",
    behind: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of another proxy in front; may be repeated."),
    ] = None,
    run_dir: Annotated[
        str, typer.Option(help="Folder for nginx's own files.")
    ] = "/run/pixelmill-nginx",
) -> None:
    """Print the configuration of nginx or haproxy in front of the web processes.

    Address, bucket and limits are those of the settings: print it again after a change of them.
    """
    from deploy.proxy import Proxy, render
    from tasks.settings import settings

    chosen = Proxy(
        web,
        certificate,
        key,
        listen=listen,
        http_listen=http_listen,
        behind=behind or (),
        run_dir=run_dir,
    )
    print(render(kind, chosen, settings()), end="")
