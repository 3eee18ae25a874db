"""Which server the commands speak to, and how this host reaches it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from deploy.local import run_file
from tasks.errors import BadInput, Unavailable
from tasks.settings import settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Server:
    """Where the API is, and the key to it; a server in open mode needs none."""

    url: str
    """The address that requests go to."""
    key: str
    public_url: str = ""
    """The address for people, if it is another one. This host may not be able to resolve it."""

    @property
    def is_local(self) -> bool:
        """Whether it is reached by loopback, where no proxy of the environment leads to."""
        return urlsplit(self.url).hostname in LOOPBACK

    def reached(self, url: str) -> tuple[str, dict[str, str]]:
        """An address of the server as this host reaches it, and the headers that it takes.

        Addresses of pictures are signed for the host that they name, which the server must see.
        """
        host = urlsplit(url).netloc
        if not self.public_url or host != urlsplit(self.public_url).netloc:
            return url, {}
        path = url.split("/", 3)[3]
        return f"{self.url}/{path}", {"Host": host}


def find_server(url: str, key: str) -> Server:
    """The server that is named, else the `pixelmill up` of this folder; Unavailable without one."""
    run = run_file.read(settings().var_dir)
    named = (url or run.url).rstrip("/")
    if not named:
        file = settings().var_dir / run_file.NAME
        raise Unavailable(
            "no server found: neither --url nor PIXELMILL_URL is given, and there is no "
            f"{file} of a running `pixelmill up`",
            hint="Start a server with `pixelmill up`, or name one with --url.",
        )
    if not named.startswith(("http://", "https://")):
        raise BadInput(f"{named!r} is not an address; expected e.g. http://127.0.0.1:7860")
    if named not in (run.url, run.local_url):
        return Server(named, key)  # the key of this machine's server is sent to no other
    public_url = run.url if run.local_url != run.url else ""
    return Server(run.local_url or run.url, key or run.api_key or "", public_url)
