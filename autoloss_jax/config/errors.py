"""What a user can mend, and the word that they may have meant."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend: shown as one line (what, where, the fix), exit code 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word nearest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
