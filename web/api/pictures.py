"""A job's picture as the answer to the request for it, with its timings in the headers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast
from urllib.parse import quote

import orjson
from fastapi import Request
from starlette.responses import Response

from storage.catalogue import ModelCard
from storage.jobs.result import StoredObject, StoredResult
from storage.jobs.snapshots import Snapshot
from storage.states import TIMED_STAGES
from tasks.errors import BadInput
from tasks.imaging.notes import WRITTEN_AS_PNG
from tasks.settings import settings
from web.api.accept import FORMATS, Wish, not_acceptable
from web.api.options import Options
from web.api.responses import notes_of
from web.jobs.service import service_of

CUTOUT, PREVIEW = "cutout", "preview"
_FIXED = {
    "alpha": "image/png", "mask": "image/png", "preview": "image/webp",
    "edge_colours": "image/webp", "photo": "image/webp", "photo-png": "image/png",
}  # fmt: skip
"""Types of the pictures of a matte that have but one: tasks/imaging/cutouts.py."""
FITS_SIDE = 3500
"""Longest side in pixels of a cut-out that is never too large: tasks/imaging/sinks.py."""
_NOT_IN_NAMES = re.compile(r"[^\w .()+-]+")
_MAX_NAME = 60


class Proxy(Protocol):
    """What brings the bytes of an object: web/s3_proxy.py."""

    async def picture(self, request: Request, url: str, headers: Mapping[str, str]) -> Response:
        """The object at `url` as the answer, with these headers."""


def for_picture(
    wish: Wish, card: ModelCard, options: Options, params: Mapping[str, Any]
) -> tuple[Options, Mapping[str, Any]]:
    """Options and parameters that make the picture. Raises BadInput (406) if there is none.

    A client that names no output gets the cut-out, or the preview of a model that makes none.
    """
    is_matte = card["kind"] == "matte"
    main = CUTOUT if is_matte else PREVIEW
    if not options.output:
        options = options._replace(output=main)
    name = options.outputs[0]
    if name != main:
        _check_type(name, wish, is_matte)
        return options, params
    if "format" in card["params"].get("properties", {}):
        return options, _with_format(params, wish)
    if is_matte and wish.format:  # by its name, as the model has no such parameter
        options = options._replace(
            output=options.output.replace(CUTOUT, f"{CUTOUT}-{wish.format}", 1)
        )
    return options, params


def _with_format(params: Mapping[str, Any], wish: Wish) -> Mapping[str, Any]:
    given = params.get("format")
    if given is None:
        return {**params, "format": wish.format} if wish.format else params
    if given in FORMATS.values() and f"image/{given}" not in wish.types:
        raise not_acceptable(f"format={given} is asked for, which Accept does not take")
    return params


def _check_type(name: str, wish: Wish, is_matte: bool) -> None:
    """Raises BadInput (406), before any work, for a picture that is always of another type."""
    fixed = _FIXED.get(name, "") if is_matte else ""
    if name.startswith(f"{CUTOUT}-"):
        fixed = f"image/{name.removeprefix(f'{CUTOUT}-')}"
    if fixed in FORMATS and fixed not in wish.types:
        raise _other_type(name, fixed)


async def answer(
    request: Request,
    snapshot: Snapshot,
    wish: Wish,
    output: str,
    filename: str,
    limits: Mapping[str, str],
) -> Response:
    """The picture of a job that is done. Raises BadInput (406) if it has none that is wanted.

    `limits`: further headers.
    """
    result: StoredResult = orjson.loads(snapshot.fields["result"])
    image = _object(result, output)
    _check_taken(wish, image["type"], output, result.get("notes", []))
    origin = settings().s3_url.rstrip("/")
    url = service_of(request).results.address(image["key"], origin, image["type"])
    proxy = cast(Proxy, request.app.state.s3_proxy)
    headers = {**_headers(snapshot, result, output, filename), **limits}
    return await proxy.picture(request, url, headers)


def _check_taken(wish: Wish, media_type: str, output: str, notes: Sequence[str]) -> None:
    """Raises BadInput (406) for a picture of a type that the client does not take.

    A cut-out that is too large for the type asked for is answered as the PNG that it has become,
    with a note, unless the client excludes PNG: RFC 9110, 12.5.1 leaves that to the server, and
    the work is done.
    """
    if media_type in wish.types:
        return
    if WRITTEN_AS_PNG not in notes:
        raise _other_type(output, media_type)
    if media_type in wish.refused:
        raise not_acceptable(
            f"{output} is too large for the type asked for, so it is {media_type}, which Accept "
            "excludes",
            f"Ask for fewer pixels (`max_side={FITS_SIDE}` fits every type), or take {media_type}.",
        )


def _other_type(output: str, media_type: str) -> BadInput:
    return not_acceptable(
        f"{output} is {media_type}, which Accept does not take",
        f"Send `Accept: {media_type}`, or `Accept: application/json` for the job with the "
        "addresses of all its pictures.",
    )


def _object(result: StoredResult, output: str) -> StoredObject:
    objects = result["objects"]
    # `cutout-png` and its like are made as the object `cutout`.
    image = objects.get(output) or objects.get(output.partition("-")[0])
    if image is not None:
        return image
    if not objects:
        raise not_acceptable(
            "this model makes no picture", "Its answer is JSON: send `Accept: application/json`."
        )
    names = ", ".join(objects)
    raise not_acceptable(
        f"this model makes no picture by the name {output}", f"Ask by `output` for one of: {names}."
    )


def _headers(
    snapshot: Snapshot, result: StoredResult, output: str, filename: str
) -> Mapping[str, str]:
    image, notes = _object(result, output), notes_of(result, snapshot.fields)
    headers = {
        "content-type": image["type"],
        "content-disposition": _disposition(image, output, filename),
        "cache-control": "private",
        "vary": "Accept",
        "server-timing": _timings(snapshot.fields),
        "x-pixelmill-job": snapshot.fields["id"],
    }
    return {**headers, "x-pixelmill-notes": ", ".join(notes)} if notes else headers


def _timings(fields: Mapping[str, str]) -> str:
    """The stages, as browsers show them: https://www.w3.org/TR/server-timing/."""
    if fields["cached"] == "1":
        return 'cache;desc="hit"'
    spent: dict[str, float] = orjson.loads(fields.get("timings") or "{}")
    return ", ".join(f"{stage};dur={spent[stage]:.1f}" for stage in TIMED_STAGES if stage in spent)


def _disposition(image: StoredObject, output: str, filename: str) -> str:
    """`photo.jpg` is answered as `photo-cutout.png`."""
    stem = re.split(r"[/\\]", filename)[-1].rpartition(".")[0] or "picture"
    stem = _NOT_IN_NAMES.sub("_", stem)[:_MAX_NAME].strip()
    name = f"{stem}-{output.partition('-')[0]}.{image['type'].partition('/')[2]}"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    extended = "" if name.isascii() else f"; filename*=UTF-8''{quote(name)}"
    return f'inline; filename="{plain}"{extended}'
