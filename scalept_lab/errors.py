"""The one exception that a learner is meant to read."""

import re

_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(ValueError):
    """Bad input, told in one line: what was expected, what came, and what to do.

    The command line prints the line and exits with status 2; a notebook shows it as the last line of the error.
    """

    def __init__(self, *told: object) -> None:
        super().__init__(*(one_line(each) if isinstance(each, str) else each for each in told))


def one_line(text: str) -> str:
    """The text with an escape in place of each character that ends a line, moves the cursor or cannot be printed: names of files
    may hold any."""
    return _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
