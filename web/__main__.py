"""`python -m web`: one web process (see also `pixelmill web --help`)."""

import os

import uvicorn

from tasks.log import configure
from tasks.settings import settings


def main() -> None:
    """Serve page and API on the host and port of the settings."""
    # Gradio reads these when it is imported; its calls home are never wanted.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # noqa: TID251 (written, not read)
    os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251 (as above)
    configure(settings().log_level)
    uvicorn.run(
        "web.app:create",
        factory=True,
        host=settings().host,
        port=settings().port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level=settings().log_level,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,  # longer than proxies (60): they lose what crosses a close
        server_header=False,
        proxy_headers=False,  # nothing is decided by who says it forwarded what
    )


if __name__ == "__main__":
    main()
