"""Which new passwords are taken."""

import pytest

from web.new_passwords import WeakPassword, check_new_password


@pytest.mark.parametrize(
    "password",
    ["password", "12345678", "iloveyou1", "P4ssw0rd!", "qwertyuiop", "aaaaaaaaaa", "pixelmill",
     "pixelmill1", "Pixelmill2026", "erika.muster", "Erika.Muster1", "admin123", "abcdefgh"],
)  # fmt: skip
def test_a_password_that_is_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_new_password("erika.muster", password)


@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "tkqzvnwx", "93817264", "Überraschung zum Käsekuchen",
     "пароль из нескольких слов", "tkqzv nwx " * 25,
     "   drei   Leerzeichen", "🐦 auf dem Dach"],
    ids=ascii,
)  # fmt: skip
def test_a_password_of_any_characters_is_taken(password: str) -> None:
    check_new_password("erika.muster", password)
