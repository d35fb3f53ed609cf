"""The one exception that a learner is meant to read, and what may be shown of text that comes from outside."""

JOINERS = "\u200c\u200d"  # without width, and needed to write names in some scripts
LONGEST = 2000  # characters of a line


class InputError(ValueError):
    """Bad input, told in one line: what was expected, what came, and what to do.

    The command line prints the line and exits with status 2; a notebook shows it as the last line of the error. It often quotes a
    file of somebody else: ends of lines become blanks, what would move a terminal's cursor an escape such as \\x1b, and of a very
    long line the middle is left out.
    """

    def __init__(self, text: object = ""):
        # once more after the escapes, each of which is several characters
        super().__init__(_shortened(printable(_shortened(str(text)), None)))


def printable(text: str, most: int | None = 200) -> str:
    """What is read from outside and is shown, such as a file's name, on one line: what cannot be printed becomes an escape.

    Of a longer text the first `most` characters count.
    """
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else " " if letter.isspace() else _escape(letter)
        for letter in text[:most]
    )


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2 - 2]} … {line[2 - LONGEST // 2 :]}"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
