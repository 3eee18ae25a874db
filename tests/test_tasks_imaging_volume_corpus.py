"""A file that is no volume, or a broken one, is refused: a sentence, a hint, and nothing leaks."""

import pytest
from volume_corpus import corpus
from volume_files import SECRET

from tasks.errors import BadInput
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.opening import open_volume

CORPUS = corpus()


@pytest.mark.parametrize("name", CORPUS)
def test_a_broken_volume_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_volume(CORPUS[name], Limits(max_raw_bytes=2**26, max_bytes=2**25))

    error = caught.value
    assert error.status in (413, 415, 422)
    assert str(error).endswith(".") and SECRET not in f"{error} {error.hint} {error.__cause__}"
