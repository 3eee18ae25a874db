"""What a person should know of how a picture was read, cut out or written: code -> sentence.

What there is to know of a volume differs from one to the next: it travels as a sentence.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

LIGHTER_SETTINGS, LIGHTER_MODEL = "lighter_settings", "lighter_model"
"""Of a job, not of its result: others get the same result because they asked for it."""
WRITTEN_AS_PNG = "written_as_png"
SENTENCES: Mapping[str, str] = {
    "first_frame": "The file has more than one picture; the first one was used.",
    "adobe_rgb_by_exif": "The file has no colour profile, but its EXIF says Adobe RGB; it was read "
    "as that.",
    "tone_mapped": "The photo is HDR; its brightness was mapped to what ordinary screens show.",
    "base_picture": "The photo has an HDR gain map; the ordinary picture in it was used.",
    "cut_short": "The file ends early; what is missing is grey.",
    "profile_ignored": "The colour profile in the file cannot be used; it was ignored.",
    "no_subject": "No clear subject was found. Take a photo in which it stands out, or another "
    "network or effort.",
    "unsure": "The network was not sure what the subject is. A higher effort or another network "
    "may help, or the brush.",
    "several_subjects": "There are several subjects. “Choose subject” keeps one of them.",
    "touches_border": "The subject touches the border of the photo, so it may be cut off there.",
    "low_contrast_left": "Subject and background have almost one colour on the left; look at "
    "the edge there, and mend it with the brush.",
    "low_contrast_right": "Subject and background have almost one colour on the right; look at "
    "the edge there, and mend it with the brush.",
    "low_contrast_top": "Subject and background have almost one colour at the top; look at "
    "the edge there, and mend it with the brush.",
    "low_contrast_bottom": "Subject and background have almost one colour at the bottom; look at "
    "the edge there, and mend it with the brush.",
    WRITTEN_AS_PNG: "The picture is too large for the format asked for; it is a PNG.",
    LIGHTER_SETTINGS: "Many people were waiting, so lighter settings were used.",
    LIGHTER_MODEL: "Many people were waiting, so a lighter model was used.",
}


OF_VOLUME = "volume"
"""The code of a note that is a sentence already."""


class Note(TypedDict):
    """A note as the API answers it."""

    code: str
    message: str


def described(codes: Sequence[str]) -> list[Note]:
    """The notes of a result; codes of a newer version, unknown here, are left out."""
    return [
        {"code": code, "message": SENTENCES[code]}
        if code in SENTENCES
        else {"code": OF_VOLUME, "message": code}
        for code in codes
        if code in SENTENCES or " " in code
    ]
