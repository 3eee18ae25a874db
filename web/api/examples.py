"""Examples for the OpenAPI document: of what comes in, what goes out, and each way to fail."""

from collections.abc import Mapping
from typing import Any

from web.api_keys import MOST_KEYS
from web.jobs.shares import MOST as MOST_SHARES

_JOB, _UPLOAD = "3f2b8c1d9e4a4f0b8a7c6d5e4f3a2b1c", "9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f"
_SHA256 = "f0" * 32
_PICTURE = {
    "url": "https://images.example.com/pixelmill/out/.../cutout.png?X-Amz-Signature=...",
    "type": "image/png",
    "width": 512,
    "height": 512,
    "bytes": 214_016,
}
_JOB_BODY = {
    "id": _JOB,
    "name": "portrait.jpg",
    "created": "2026-11-29T18:04:05.123Z",
    "expires": "2026-12-06T18:04:06.456Z",
    "state": "done",
    "model": "matting",
    "params": {"background": "#ffffff", "format": "png"},
    "upload": _UPLOAD,
    "cached": False,
    "degraded": False,
    "degraded_reason": None,
    "asked_model": None,
    "priority": "interactive",
    "progress": 1.0,
    "stage": None,
    "position": None,
    "eta_s": None,
    "result": {
        "kind": "matte",
        "width": 512,
        "height": 512,
        "orientation": 1,
        "notes": [],
        "objects": {"cutout": _PICTURE},
        "thumbnail": {**_PICTURE, "type": "image/webp", "width": 256, "height": 256},
        "data": {"coverage": 0.4183},
    },
    "timings_ms": {"queued": 3.1, "preprocess": 21.4, "inference": 80.0, "postprocess": 38.2},
    "weights": "5b0f6c3ad1e2",
    "error": None,
}
SCHEMAS: Mapping[str, Any] = {
    "Job": _JOB_BODY,
    "Jobs": {"jobs": [_JOB_BODY], "next": None},
    "JobRequest": {"model": "matting", "upload": _UPLOAD, "params": {"background": "blur"}},
    "UploadRequest": {"size": 331_264, "type": "image/jpeg"},
    "KeyRequest": {"name": "laptop", "scopes": ["run", "read"], "days": 90},
}
"""Name of a schema -> a value of it."""

_Failure = tuple[str, str, str | None]
_BY_STATUS: Mapping[str, _Failure] = {
    "400": ("bad_request", "the query contains control characters", "See /docs."),
    "401": (
        "not_signed_in",
        "sign in, or send an API key",
        "Open /login, or send `Authorization: Bearer <key>`.",
    ),
    "403": (
        "missing_scope",
        "this API key lacks the scope `run`; it has: read",
        "Make a key with that scope: at /account/keys, or by `pixelmill keys add`.",
    ),
    "404": ("no_job", f"no job '{_JOB}'", None),
    "406": (
        "not_acceptable",
        "none of the types in Accept can be answered",
        "Pictures are image/png, image/webp, image/avif, image/jpeg; `Accept: application/json` "
        "answers the job with the addresses of all its pictures.",
    ),
    "408": ("too_slow", "the body came too slowly", None),
    "409": (
        "not_uploaded",
        "the bytes of this upload have not arrived",
        "PUT them to the upload's address first.",
    ),
    "413": ("too_large", "31.4 MiB is too large: the limit is 25 MiB.", None),
    "414": ("bad_request", "the path is longer than 1024 bytes", "See /docs."),
    "415": (
        "unsupported_type",
        "PDF is not accepted; JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF and JPEG XL are.",
        "Save the picture as JPEG or PNG and send that.",
    ),
    "421": (
        "unknown_host",
        "this server does not answer to the name 'images.example.com'",
        "Start it with --public-url (PIXELMILL_PUBLIC_URL) set to the address you type.",
    ),
    "422": (
        "bad_params",
        "unknown parameter 'colour_of_ground'; this model's parameters: background, crop, format",
        None,
    ),
    "429": ("busy", "8 of your runs are under way; the limit is 8", None),
    "431": ("headers_too_large", "the request has more than 100 headers", None),
    "503": (
        "no_worker",
        "no worker serves 'matting' at present",
        "Try again in a minute; `pixelmill doctor` shows which workers are alive.",
    ),
}
_OF_ROUTES: Mapping[str, Mapping[str, _Failure]] = {
    "/api/v1/predict": {
        "404": ("no_model", "no model 'mating'; there are: facemask, matting", None),
    },
    "/api/v1/jobs": {
        "404": (
            "no_upload",
            f"no upload '{_UPLOAD}'",
            "It has expired or is not yours: POST to /api/v1/uploads again.",
        ),
    },
    "/api/v1/jobs/{job_id}/shares": {
        "404": ("no_object", "this job has no picture 'mask'; there are: cutout", None),
        "409": (
            "too_many_shares",
            f"you have {MOST_SHARES} links, which is the limit",
            "Revoke one of them first: GET /api/v1/shares lists them.",
        ),
    },
    "/api/v1/jobs/{job_id}": {"404": _BY_STATUS["404"]},
    "/api/v1/shares": {"404": ("no_share", f"no link '{_UPLOAD}'", None)},
    "/s/": {
        "404": ("no_share", "this link shows nothing: it has expired, or was revoked", None),
    },
    "/api/v1/me/keys": {
        "404": ("no_key", "no API key '0123456789abcdef'", None),
        "409": (
            "too_many_keys",
            f"you have {MOST_KEYS} API keys already",
            "Delete some that are not in use.",
        ),
    },
    "/api/v1/me/sessions": {"404": ("no_session", f"no session '{_UPLOAD}'", None)},
}
"""Beginning of a path -> what fails there in a way of its own."""


def failure(path: str, status: str) -> dict[str, Any] | None:
    """The body of an answer with this status, as this route gives it; None: there is none."""
    routes = sorted(filter(path.startswith, _OF_ROUTES), key=len)
    of_route = _OF_ROUTES[routes[-1]] if routes else {}
    found = of_route.get(status) or _BY_STATUS.get(status)
    return {"error": dict(zip(("code", "message", "hint"), found, strict=True))} if found else None
