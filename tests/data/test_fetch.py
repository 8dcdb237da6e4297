"""Downloads from servers that break off, lie, forget and refuse."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pacavit.data import fetch
from pacavit.errors import PacavitError

CONTENT = np.random.default_rng(0).bytes(300_000)
SIZE = len(CONTENT)
HASH = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Behaves as its fields say, and remembers from where it was asked."""

    content = CONTENT
    answers_range = True
    breaks_after = None  # bytes of each answer
    status = None
    length = None
    failures = 0  # answers 503 that come before the first good one

    def __init__(self) -> None:
        self.asked: list[int] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        self.asked.append(start)
        if self.failures:
            self.failures -= 1
            handler.send_error(503)
            return
        if self.status is not None:
            handler.send_error(self.status)
            return
        if not self.answers_range:
            start = 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Length", str(self.length or len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.breaks_after])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with running(Server()) as started:
        yield started


@contextmanager
def running(behaviour: Server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour.answer(self)

        def log_message(self, *arguments) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        behaviour.url = f"http://127.0.0.1:{http.server_port}/file.zip"
        yield behaviour
        http.shutdown()
        thread.join()


def get(server, tmp_path, size=SIZE, known=HASH):
    return fetch.fetch(server.url, tmp_path / "file.zip", size, known)


def test_a_file_comes_whole_and_a_second_time_not_at_all(server, tmp_path):
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["file.zip"]


def test_another_file_of_that_name_is_not_replaced(server, tmp_path):
    (tmp_path / "file.zip").write_bytes(b"mine")
    with pytest.raises(
        PacavitError, match=r"file\.zip: is not the file that .* should give .*; move it away"
    ):
        get(server, tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == b"mine"
    assert server.asked == []


def test_a_server_that_breaks_off_is_asked_for_the_rest_alone(server, tmp_path):
    server.breaks_after = 110_000
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [0, 110_000, 220_000]


def test_what_an_earlier_attempt_left_is_continued(server, tmp_path):
    (tmp_path / ".file.zip.part").write_bytes(CONTENT[:250_000])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [250_000]


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(server, tmp_path):
    server.answers_range = False
    (tmp_path / ".file.zip.part").write_bytes(CONTENT[:250_000])
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("known", [HASH, None])
def test_a_part_that_is_whole_already_is_taken(server, tmp_path, known):
    (tmp_path / ".file.zip.part").write_bytes(CONTENT)
    assert get(server, tmp_path, size=None, known=known).read_bytes() == CONTENT


def test_a_server_that_recovers_is_waited_for(server, tmp_path):
    server.failures = 3
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 404}, r"the server answers 404; look at the address"),
        (
            {"status": 500},
            r"given up after 5 attempts in a row, at 0 bytes \(the server answers 500\)",
        ),
        ({"breaks_after": 0}, r"given up after 5 attempts in a row, at 0 bytes"),
        ({"content": CONTENT[:-1]}, r"given up after 5 attempts in a row"),
        ({"content": CONTENT + b"more"}, r"sends more than the 300,000 bytes"),
        ({"content": CONTENT[:-1] + b"x"}, r"is not the file that it should be \(sha256:"),
        ({"length": 10}, r"given up after 5 attempts|is not the file that it should be"),
    ],
)
def test_a_fault_is_one_line_and_no_file(server, tmp_path, fault, message):
    vars(server).update(fault)
    with pytest.raises(PacavitError, match=message) as caught:
        get(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {".file.zip.part"}


def test_nobody_at_the_address_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with running(Server()) as gone:
        pass
    with pytest.raises(PacavitError, match="given up after 5 attempts"):
        get(gone, tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "file.zip"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(PacavitError, match="expected an address that starts with http"):
        fetch.fetch(url, tmp_path / "file.zip")
