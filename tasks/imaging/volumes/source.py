"""Which DICOM files slices came from: UIDs, which are read only where an answer refers to them."""

import re
from collections.abc import Mapping
from typing import Any

Source = Mapping[str, Any]
"""`study`, `series`, `frame_of_reference`: UIDs. `slices`: of each slice of the file's array None,
if it was filled in, or its `class` and `instance` (UIDs), `frame` (from 1; 0 in a file of one) and
`position` (mm, LPS)."""
_UID = re.compile(r"[0-9.]{1,64}")


def is_source(source: Any) -> bool:
    """Whether it has every identifier, and nothing else instead of one."""
    try:
        uids = [source[name] for name in ("study", "series", "frame_of_reference")]
        for row in filter(None, source["slices"]):
            uids += [row["class"], row["instance"]]
            x, y, z = (float(value) for value in row["position"])
            int(row["frame"])
    except (KeyError, TypeError, ValueError):
        return False
    return all(isinstance(uid, str) and _UID.fullmatch(uid) for uid in uids)
