"""The errors that users see: what is wrong, where, and what to do, in one line."""

#: Exit code of a training that was asked to end, saved its state and wants to be started again.
REQUEUE_EXIT = 85
#: What shells give after Ctrl-C.
INTERRUPT_EXIT = 130


class PacavitError(Exception):
    """Bad input or a machine that cannot do what was asked.

    The command line prints the message alone, without a traceback, and exits with :attr:`exit_code`. The message
    names the file, key or value, says what was expected, and what to do.
    """

    exit_code = 2


class TrainingInterruptedError(PacavitError):
    """A training was asked to end, and has saved its state.

    Args:
        message: by what, and after which update.
        exit_code: :data:`REQUEUE_EXIT`, or :data:`INTERRUPT_EXIT` after Ctrl-C.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
