"""Where runs are to go: what works, what may work later, and what never will."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow_helpers import free_port

from pacavit.tracking.address import check


@pytest.fixture
def told(work, monkeypatch):
    """A function that sets the address and returns what is said of it."""

    def at(uri: str) -> tuple[str, str]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return check()

    return at


@pytest.fixture
def server():
    """A function that starts a server that gives the same answer to everything, and returns its address."""
    running = []

    def start(status: int, body: bytes = b"", kind: str = "text/plain") -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        running.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://me:hunter2@127.0.0.1:{running[-1].server_port}"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def test_without_an_address_runs_go_to_the_project_which_is_left_as_it_is(told):
    before = sorted(Path().iterdir())
    assert told("") == ("ok", "a database in this folder")
    assert sorted(Path().iterdir()) == before


def test_a_database_elsewhere_is_named(told, tmp_path):
    file = tmp_path / "new" / "folder" / "runs.db"
    assert told(f"sqlite:///{file}") == ("ok", f"the database {file}")
    assert not file.parent.exists()


@pytest.mark.parametrize("content", ["folder", "text"])
def test_what_is_no_database_is_told(told, tmp_path, content):
    file = tmp_path / "runs.db"
    file.mkdir() if content == "folder" else file.write_text("experiment,run\n")
    state, text = told(f"sqlite:///{file}")
    assert (state, f"{file}: is no SQLite database" in text) == ("mend", True)


def test_a_file_where_a_folder_is_wanted_is_told(told, tmp_path):
    (tmp_path / "file").write_text("")
    state, text = told(f"sqlite:///{tmp_path}/file/runs.db")
    assert (state, f"{tmp_path}/file: cannot be written" in text) == ("mend", True)


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "/tmp/mlruns", "file:///tmp/mlruns", "127.0.0.1:5000"])
def test_a_folder_of_runs_is_what_mlflow_refuses(told, uri):
    state, text = told(uri)
    assert state == "mend"
    assert f"MLFLOW_TRACKING_URI={uri}" in text
    assert "sqlite:///" in text


def test_a_folder_of_runs_is_fine_where_mlflow_is_told_so(told, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert told("./mlruns") == ("ok", "files in ./mlruns")


@pytest.mark.parametrize(
    "uri", ["htp://127.0.0.1:5000", "localhost:5000", "ftp://a/b", "http//a", "s3://a/b"]
)
def test_an_address_of_no_known_kind_is_to_be_mended(told, uri):
    state, text = told(uri)
    assert (state, uri in text, "http://" in text) == ("mend", True, True)


@pytest.mark.parametrize("uri", ["http://", "https://[half", "http://:5000"])
def test_an_address_without_a_host_is_to_be_mended(told, uri):
    assert told(uri)[0] == "mend"


@pytest.mark.parametrize(
    "uri", ["postgresql+nosuchdriver://me:hunter2@db/runs", "mysql+nosuch://me:hunter2@db/r"]
)
def test_a_database_without_its_driver_is_to_be_mended(told, uri):
    state, text = told(uri)
    assert (state, "hunter2" in text, "driver" in text) == ("mend", False, True)


@pytest.mark.parametrize("uri", ["databricks", "databricks-uc", "databricks://profile"])
def test_what_is_not_tried_is_not_called_ok(told, uri):
    assert told(uri) == ("note", f"{uri}: not tried")


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_to_be_mended(told, uri):
    state, text = told(uri)
    assert (state, f"MLFLOW_TRACKING_URI={uri}: is a database in memory" in text) == ("mend", True)


@pytest.mark.parametrize(
    ("status", "state"),
    [(401, "mend"), (403, "mend"), (404, "mend"), (400, "mend"), (429, "note"), (500, "note"), (503, "note")],
)
@pytest.mark.parametrize("body", [b"no", b"<html>no</html>", b'{"message": "no"}'])
def test_a_server_that_refuses_is_not_one_that_answers(told, server, status, state, body):
    found, text = told(server(status, body))
    assert (found, str(status) in text, "hunter2" in text, "\n" in text) == (state, True, False, False)
    assert ("MLFLOW_TRACKING_PASSWORD" in text) == (status in (401, 403))


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"OK", b"[]", b""])
def test_another_web_page_is_no_mlflow(told, server, body):
    state, text = told(server(200, body, "text/html"))
    assert (state, "not as MLflow does" in text) == ("mend", True)


def test_a_server_of_mlflow_answers(told, server):
    answer = json.dumps({"experiments": []}).encode()
    state, text = told(server(200, answer, "application/json"))
    assert (state, "hunter2" in text) == ("ok", False)


def test_a_server_that_is_away_may_come_back(told):
    state, text = told(f"http://me:hunter2@127.0.0.1:{free_port()}")
    assert (state, "hunter2" in text, "pacavit sync" in text) == ("note", False, True)
    assert ": ConnectionError; " in text
