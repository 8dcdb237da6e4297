"""Whether MLflow takes runs at the place where they are to go, told in seconds; nothing is written there."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from pacavit.redaction import without_passwords
from pacavit.tracking import queue
from pacavit.tracking.queue import DATABASES, database, shown_uri, tracking_uri

#: Seconds that a server may take to answer.
_PATIENCE = 3.0
_FORMS = "expected http://…, https://… or sqlite:///…"
_IN_MEMORY = ("sqlite://", "sqlite:///:memory:")
#: Those of Databricks, which take their settings from elsewhere.
_ELSEWHERE = ("databricks", "databricks-uc", "uc")
_LATER = "training goes on without it, and `pacavit sync` delivers later"


def check() -> tuple[Literal["ok", "note", "mend"], str]:
    """Return a verdict on the address, and a line that says why: a server that is away may come back (``note``)."""
    uri = tracking_uri()
    if uri in _IN_MEMORY:
        return (
            "mend",
            f"MLFLOW_TRACKING_URI={uri}: is a database in memory, which ends with its process; {_FORMS}",
        )
    file = database()
    if file is not None:
        return _file(file)
    plugins = entry_points(group="mlflow.tracking_store").names
    scheme = queue.scheme()
    if uri in _ELSEWHERE or scheme in {*_ELSEWHERE, *plugins}:
        return "note", f"{shown_uri()}: not tried"
    if scheme in ("http", "https"):
        return _server(uri) if uri.partition("://")[2].strip("/") else _no_address()
    if scheme in ("", "file"):
        return _folder(uri)
    if scheme in DATABASES:
        return _driver(uri)
    return _no_address()


def _no_address() -> tuple[Literal["mend"], str]:
    return "mend", f"MLFLOW_TRACKING_URI={shown_uri()}: is no address of MLflow; {_FORMS}"


def _file(file: Path) -> tuple[Literal["ok", "mend"], str]:
    name = "a database in this folder" if file == Path("mlflow.db").resolve() else f"the database {file}"
    existing = next(path for path in (file, *file.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK) or (existing != file and not existing.is_dir()):
        return "mend", f"{existing}: cannot be written, for {name}; change its rights or MLFLOW_TRACKING_URI"
    if existing == file and not _is_database(file):
        return "mend", f"{file}: is no SQLite database; move it away or correct MLFLOW_TRACKING_URI"
    return "ok", name


def _is_database(file: Path) -> bool:
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        return opened.read(16) in (b"", b"SQLite format 3\0")


def _folder(uri: str) -> tuple[Literal["ok", "mend"], str]:
    if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
        return "ok", f"files in {uri}"
    return (
        "mend",
        f"MLFLOW_TRACKING_URI={uri}: MLflow keeps no runs in folders any more; {_FORMS}, or unset it for "
        "mlflow.db of this project",
    )


def _driver(uri: str) -> tuple[Literal["note", "mend"], str]:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        return "mend", f"{shown_uri()}: {without_passwords(str(error))}; install the driver or correct it"
    return "note", f"{shown_uri()}: its driver is installed; not tried"


def _server(uri: str) -> tuple[Literal["ok", "note", "mend"], str]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import requests
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    shown = shown_uri()
    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            max_retries=0,
            timeout=_PATIENCE,
            raise_on_status=False,
            params={"max_results": 1},
        )
    except Exception as error:
        # MLflow wraps what requests raises, and raises some of it as it is.
        cause = error.__cause__ or error.__context__ or error
        if isinstance(cause, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)):
            return _no_address()
        if isinstance(cause, requests.exceptions.SSLError):
            return (
                "mend",
                f"{shown}: its certificate is not trusted here; set MLFLOW_TRACKING_SERVER_CERT_PATH",
            )
        return "note", f"{shown}: {type(cause).__name__}; {_LATER}"
    return _answered(shown, answer)


def _answered(shown: str, answer: object) -> tuple[Literal["ok", "note", "mend"], str]:
    status = answer.status_code
    told = f"{shown} answers {status} {answer.reason or ''}".rstrip()
    if status in (401, 403, 407):
        return (
            "mend",
            f"{told}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as whoever "
            "runs the server says; one that knows its host by another name is told so by --allowed-hosts",
        )
    if status == 429 or status >= 500:
        return "note", f"{told}; {_LATER}"
    try:
        understood = status == 200 and isinstance(answer.json(), dict)
    except ValueError:
        understood = False
    if not understood:
        return "mend", f"{told}, but not as MLflow does; correct MLFLOW_TRACKING_URI"
    return "ok", f"{shown} answers"
