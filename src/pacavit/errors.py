"""The one error that users see: what is wrong, where, and what to do, in one line."""


class PacavitError(Exception):
    """Bad input or a machine that cannot do what was asked.

    The command line prints the message alone, without a traceback, and exits with 2. The message names the
    file, key or value, says what was expected, and what to do.
    """
