"""The requests that a page sent."""

from dataclasses import dataclass, field

from playwright.sync_api import Request


@dataclass
class Traffic:
    """The requests that a page sent since the last `clear()`."""

    requests: list[Request] = field(default_factory=list)

    def note(self, request: Request) -> None:
        """Remember one request."""
        self.requests.append(request)

    @property
    def puts(self) -> list[Request]:
        """Requests that put bytes somewhere."""
        return [request for request in self.requests if request.method == "PUT"]

    @property
    def largest_to_web(self) -> int:
        """Bytes of the largest body that was not a PUT to a signed address."""
        others = [request for request in self.requests if request.method != "PUT"]
        return max((bytes_of(request) for request in others), default=0)


def bytes_of(request: Request) -> int:
    """Length of a request's body, as its header says (Blobs are not in its post data)."""
    return int(request.all_headers().get("content-length", 0))
