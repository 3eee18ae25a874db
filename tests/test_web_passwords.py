"""Which new passwords are taken."""

import time

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


@pytest.mark.measures_time
def test_a_long_password_of_signs_takes_no_longer_to_judge_than_a_short_one() -> None:
    signs = "4@8({[<369!1|0$5+7%2" * 2

    def cpu_s(password: str) -> float:
        began_s = time.thread_time()
        check_new_password("erika.muster", password)
        return time.thread_time() - began_s

    cpu_s(signs[:8])  # reads the lists of words
    assert cpu_s(signs * 6) < 2 * cpu_s(signs[:32])
