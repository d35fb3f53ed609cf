"""The one exception that a learner is meant to read."""


class InputError(ValueError):
    """Bad input, told in one line: what was expected, what came, and what to do.

    The command line prints the line and exits with status 2; a notebook shows it as the last line of the error.
    """
