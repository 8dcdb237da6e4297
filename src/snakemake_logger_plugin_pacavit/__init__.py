"""Snakemake's plugin that prints what :mod:`pacavit.terminal` tells; `logger: pacavit` in the profiles chooses it."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import suppress

from snakemake.logging import ColorizingTextHandler
from snakemake_interface_logger_plugins.base import LogHandlerBase


class LogHandler(LogHandlerBase):
    """Prints the account of a run; dry runs, `--verbose` and `--debug-dag` keep Snakemake's own words.

    Snakemake adds its filter and formatter, so that `--quiet` and `--printshellcmds` mean what they always do.
    """

    writes_to_stream = True
    writes_to_file = has_filter = has_formatter = needs_rulegraph = False

    def __post_init__(self) -> None:
        from pacavit.terminal import Account

        given = self.common_settings
        stream = sys.stdout if given.stdout else sys.stderr
        self._screen = ColorizingTextHandler(nocolor=given.nocolor, stream=stream)
        self._in_full = given.dryrun or given.verbose or given.debug_dag
        self._account = Account(given.show_failed_logs)
        self._closing = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Print what is to be said of a record."""
        try:
            if self._in_full:
                self._say(self._account.heard())
                self._account.told(record, self.format)
                self._screen.setFormatter(self.formatter)
                self._screen.emit(record)
            else:
                self._say(self._account.told(record, self.format), record)
        except Exception:
            self.handleError(record)

    def _listen(self) -> None:
        """Print what jobs write into their logs."""
        while not self._closing.wait(1):
            # A log may vanish between two looks.
            with self.lock, suppress(OSError):
                self._say(self._account.heard())

    def close(self) -> None:
        """Print the results, once nothing more will happen."""
        self._closing.set()
        if not self._in_full:
            self._say(self._account.ended())
        super().close()

    def _say(self, text: str | None, record: logging.LogRecord | None = None) -> None:
        if text:
            self._screen.stream.write(f"{self._screen.decorate(record, text) if record else text}\n")
            self._screen.flush()
