"""What a user can mend, and the word that they may have meant."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend. Its text is one line: what is wrong, where, and the fix.

    The command line prints it and ends with exit code 2.

    Example:
        >>> from autoloss_jax import Config, UserError
        >>> try:
        ...     Config().replace({"model.nam": "ipnn"})
        ... except UserError as error:
        ...     print(error)
        model.nam: no such config key; did you mean 'model.name'?
    """

    def __init__(self, text: object):
        super().__init__(plain(str(text)))


def plain(text: str) -> str:
    """`text` in one line that moves no cursor and colours nothing: what cannot be printed is
    escaped, as Python writes it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """What another library says of a fault, in a line; its kind, where it says nothing."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word nearest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
