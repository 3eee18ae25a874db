"""`pixelmill users quota`: what one user may use, beside the defaults of the settings."""

from typing import Annotated

import typer

from deploy.client.command import AsJson
from tasks.errors import BadInput

DEFAULT = "default"
NO_LIMIT = "none"
Value = Annotated[str | None, typer.Option(help=f"A number, `{NO_LIMIT}`, or `{DEFAULT}`.")]


def quota(
    user: Annotated[str, typer.Argument(help="Name of the user.")],
    images_per_hour: Value = None,
    images_per_day: Value = None,
    mib_per_hour: Value = None,
    mib_per_day: Value = None,
    stored_mib: Value = None,
    jobs_in_flight: Value = None,
    as_json: AsJson = False,
) -> None:
    """Show what a user may use and has used; with options, set it for this user alone.

    `none` is no limit; `default` lets the setting hold again, such as PIXELMILL_IMAGES_PER_HOUR.
    """
    from deploy import quota_store

    asked = {
        "images_per_hour": images_per_hour,
        "images_per_day": images_per_day,
        "bytes_per_hour": mib_per_hour,
        "bytes_per_day": mib_per_day,
        "stored_bytes": stored_mib,
        "jobs_in_flight": jobs_in_flight,
    }
    for name, value in asked.items():
        if value is not None:
            quota_store.set_quota(user, name, _number(value))
    lines = quota_store.as_json(user) if as_json else quota_store.as_text(user)
    print(lines)


def _number(text: str) -> float | None:
    """None for the default, 0 for no limit. Raises BadInput for what is no number."""
    if text == DEFAULT:
        return None
    if text == NO_LIMIT:
        return 0
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 2**31:
        raise BadInput(f"{text!r} is no number above 0, and neither {NO_LIMIT} nor {DEFAULT}")
    return number
