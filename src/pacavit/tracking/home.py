"""MLflow's local database in a project that was moved or copied: it holds whole paths of the files beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

#: Columns that hold the places of files.
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
# Takes names of the list above alone.
_MOVE = "update {0} set {1} = ?1 || substr({1}, ?2) where instr({1}, ?3) = 1"
_FOLDER = "/mlruns"


def move_in(database: Path) -> None:
    """Let the database name the files beside it, if it names those of another folder.

    MLflow would show no figure of a project that was moved, and write a copy's into the original.

    Args:
        database: of MLflow, which no other process may change meanwhile.
    """
    here = database.resolve().parent
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        places = connection.execute("select artifact_location from experiments where name like 'pacavit-%'")
        homes = {place.rpartition(_FOLDER)[0] for (place,) in places if _FOLDER in (place or "")}
        for home in homes:
            if Path(unquote(home.removeprefix("file://"))) == here:
                continue
            prefix = here.as_uri() if home.startswith("file:") else str(here)
            for table, column in _COLUMNS:
                connection.execute(_MOVE.format(table, column), (prefix, len(home) + 1, home + _FOLDER))
