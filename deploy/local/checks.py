"""What `pixelmill up` cannot start with, said before anything is started."""

import errno
import socket
from pathlib import Path

from deploy.supervision.process import CannotStart
from tasks.models import registry
from tasks.settings import Settings, names_in

NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def cannot_write(error: OSError, var: Path) -> str:
    """Why nothing can be written to `var`, and what to do; empty if that is not what failed."""
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and start again"
    if error.errno not in NOT_WRITABLE or not str(error.filename).startswith(str(var)):
        return ""
    return (
        f"{error.filename} cannot be written: {error.strerror}; "
        "start it in a folder of yours, or name one by PIXELMILL_VAR_DIR"
    )


def models(settings: Settings) -> None:
    """Raise CannotStart for a model that is not there, ModelFailure for a folder of models."""
    there = registry.names(settings.model_paths)
    if missing := [name for name in names_in(settings.models) if name not in there]:
        raise CannotStart(
            f"no model {', '.join(missing)} (PIXELMILL_MODELS); there are: {', '.join(there)}"
        )


def page_port(settings: Settings) -> None:
    """Raise CannotStart if the page cannot be served where it is to be."""
    host, port = settings.host, settings.port
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is in use; choose another by --port or PIXELMILL_PORT"
        else:
            reason = f"cannot be listened on ({error.strerror}); see --host and --port"
        raise CannotStart(f"port {port} of {host} {reason}") from error
