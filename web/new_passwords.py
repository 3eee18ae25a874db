"""Which new passwords are accepted."""

from tasks.errors import JobError
from web.middleware.validation import MAX_PASSWORD, is_text

MIN_PASSWORD = 8
"""Characters of a new password."""
OWN_WORDS = ("pixelmill", "matting", "cutout", "photo", "admin")
"""What guessers of passwords of this application try first."""
GUESSES = 10**7
LONGEST_JUDGED = 32
"""Characters that are looked at: with each, the time for signs in the place of letters grows."""


class WeakPassword(JobError):
    """A new password that is not accepted."""

    code = "weak_password"
    status = 422


def check_new_password(user: str, password: str) -> None:
    """Raises WeakPassword for one that is not accepted."""
    if not is_text(password, MAX_PASSWORD):
        raise WeakPassword(
            f"a password has at most {MAX_PASSWORD} characters and no control characters"
        )
    if len(password) < MIN_PASSWORD:
        raise WeakPassword(f"a password has at least {MIN_PASSWORD} characters")
    if password.casefold() == user.casefold():
        raise WeakPassword("the password must not be the name")
    if is_guessable(password, user):
        raise WeakPassword(
            "the password is too easy to guess",
            hint="Avoid common passwords, names and rows of keys; a few words in a row do well.",
        )


def is_guessable(password: str, user: str) -> bool:
    """Whether a guesser who knows common passwords, words, and this user's name finds it soon:
    within 10^7 guesses, by Wheeler, zxcvbn, USENIX Security 2016."""
    from zxcvbn import zxcvbn  # half a second, for its lists of words

    beginning = password[:LONGEST_JUDGED]
    return float(zxcvbn(beginning, [user, *OWN_WORDS])["guesses"]) < GUESSES
