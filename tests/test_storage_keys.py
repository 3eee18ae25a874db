"""Equal work of one owner has one key; whatever makes it other work makes another key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys, object_keys, request_keys

WORK = {
    "image": "sha256:1",
    "model": "matting",
    "weights": "sha256:2",
    "code": "sha256:3",
    "params": {"feather": 2, "mode": "fast"},
    "output": ["alpha", "preview"],
}

params = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5)


def key(owner: str = "ada", secret: str = "of the tests", **changes: object) -> str:
    return request_keys.request_key(secret, owner, **{**WORK, **changes})


def test_equal_work_has_one_key() -> None:
    assert key() == key()


def test_a_request_key_is_64_hex_digits() -> None:
    assert len(bytes.fromhex(key())) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"image": "sha256:other"},
        {"model": "other"},
        {"weights": "sha256:other"},
        {"code": "sha256:other"},
        {"params": {"feather": 3, "mode": "fast"}},
        {"params": {"feather": "2", "mode": "fast"}},
        {"output": ["alpha"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_ingredient_changes_the_key(change: dict[str, object]) -> None:
    assert key(**change) != key()


def test_another_user_has_another_key() -> None:
    assert key("ada") != key("bob")


def test_another_installation_has_another_key() -> None:
    assert key(secret="one") != key(secret="two")


def content_key(scope: str = "ada", sha256: str = "1", **changes: object) -> str:
    work = {name: value for name, value in WORK.items() if name != "image"} | changes
    return request_keys.content_key("of the tests", scope, sha256=sha256, **work)


@pytest.mark.parametrize(
    "change",
    [
        {"scope": ""},
        {"sha256": "2"},
        {"model": "other"},
        {"weights": "sha256:other"},
        {"code": "sha256:other"},
        {"params": {"feather": 3, "mode": "fast"}},
        {"output": ["alpha"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_ingredient_changes_the_content_key(change: dict[str, str]) -> None:
    assert content_key(**change) != content_key()


def test_a_content_key_is_no_request_key() -> None:
    """Or a client could claim to have bytes by calling its upload by their hash."""
    assert content_key("ada", "sha256:1") != key("ada", image="sha256:1")


def test_the_order_of_outputs_does_not_matter() -> None:
    assert key(output=["preview", "alpha"]) == key(output=["alpha", "preview"])


@given(params, st.randoms())
def test_the_order_of_params_does_not_matter(given: dict[str, object], random: object) -> None:
    names = list(given)
    random.shuffle(names)  # type: ignore[attr-defined]  # hypothesis does not type its Random

    assert key(params={name: given[name] for name in names}) == key(params=given)


@given(params, params)
def test_other_params_have_another_key(first: dict[str, object], other: dict[str, object]) -> None:
    assert (key(params=first) == key(params=other)) == (first == other)


def test_ingredients_do_not_run_into_each_other() -> None:
    assert key(model="ab", weights="c") != key(model="a", weights="bc")


def test_an_api_key_is_stored_as_its_hash() -> None:
    stored = keys.api_key("secret-of-ada")

    assert "secret-of-ada" not in stored


def test_no_object_is_another_objects_folder() -> None:
    upload = object_keys.upload_object("ada", "u1")
    result = object_keys.edition_folder("ada", "k1", 1_795_895_075) + "alpha.png"
    weights = object_keys.weights_object("abc", "net.safetensors")

    assert len({name.split("/")[0] for name in (upload, result, weights)}) == 3


def test_an_edition_says_when_it_was_made_and_no_two_are_one() -> None:
    editions = [object_keys.edition_folder("ada", "k1", 1_795_895_075) for _ in range(2)]

    assert editions[0] != editions[1]
    for edition in editions:
        assert edition.startswith(object_keys.result_folder("ada", "k1"))
        assert object_keys.edition_made_s(f"{edition}alpha.png") == 1_795_895_075


@pytest.mark.parametrize(
    "key", ["in/1795895075-00000000/u1", "out/ada/k1/alpha.png", "out/ada/k1/result.json", ""]
)
def test_what_belongs_to_no_edition_says_nothing(key: str) -> None:
    assert object_keys.edition_made_s(key) == 0


def test_a_listing_shows_older_editions_first() -> None:
    times = (5, 1_795_895_075, 1_795_895_076, 4_000_000_000)

    editions = [object_keys.edition_folder("ada", "k1", made_s) for made_s in times]

    assert sorted(editions) == editions
