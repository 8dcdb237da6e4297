"""``python -m pacavit`` is the ``pacavit`` command."""

from pacavit.cli import main

main()
