"""What `pixelmill up` prints once everything runs."""

from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from deploy.local import installation as installations
from deploy.local.installation import Installation
from tasks.settings import Settings

PLAIN_HTTP = (
    "[yellow]The page is served over plain http to other machines:[/] passwords, keys and photos "
    "cross the network readable, and cookies are not marked Secure. Browsers do not compute hashes "
    "on such a page, so photos that are known already are uploaded again, and its buttons cannot "
    "copy to the clipboard. Put TLS in front (nginx, a load balancer) and pass its address with "
    "--public-url https://..."
)


def show(
    console: Console,
    settings: Settings,
    installation: Installation,
    *,
    has_first_password: bool,
    url: str,
    logs: Path | None,
    seconds: float,
) -> None:
    """Print where everything is; a warning if others are served without TLS.

    `has_first_password`: nobody has replaced the one of `admin` yet. `url`: address of the page.
    `seconds`: how long the start took.
    """
    password = installation.admin_password
    if not console.is_terminal:  # the output may be readable for others
        password = f"see admin_password in {settings.var_dir / installations.NAME}"
    lines = [f"[bold]Pixelmill is ready[/] ({seconds:.1f} s)", ""]
    own = "admin, with the password that you have chosen"
    sign_in = f"admin / {password}" if has_first_password else own
    lines += [f"page      {url}", f"sign in   {sign_in}"]
    if settings.task_events:
        lines += [f"Flower    {installation.flower_url}  (admin / {password})"]
    lines += [f"API       {url}/docs", f"logs      {logs}", "", "Press Ctrl-C to stop."]
    with suppress(OSError):  # see `up._print`
        console.print(Panel("\n".join(lines), expand=False))
    is_public = settings.host not in ("127.0.0.1", "localhost", "::1")
    if is_public and not settings.public_url.startswith("https://"):
        console.print(PLAIN_HTTP)
