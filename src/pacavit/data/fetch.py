"""Downloads that go on where they ended, and take their final name only when whole and right."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import requests
import urllib3
from pooch import hashes
from tqdm import tqdm

from pacavit.errors import PacavitError

#: Attempts in a row with less than a megabyte each before a download is given up.
ATTEMPTS = 5
#: Seconds before the second attempt; doubled before each later one.
PAUSE = 2.0
#: Seconds without an answer, or without a byte, after which an attempt has failed.
TIMEOUT = 60.0
_CHUNK = 1 << 20


def fetch(url: str, path: Path, size: int | None = None, known_hash: str | None = None) -> Path:
    """Return ``path``, downloaded unless it is there already.

    What arrived of an interrupted download is kept beside it as ``.NAME.part``.

    Args:
        url: http or https.
        path: final name.
        size: bytes of the whole file, if known.
        known_hash: ``sha256:…`` or ``md5:…``, if known.

    Raises:
        PacavitError: the address is of another kind, the server does not give the file, or gives another one, or
            another one stands at ``path``, which is not replaced.
    """
    if not url.startswith(("http://", "https://")):
        raise PacavitError(f"{url}: expected an address that starts with http:// or https://")
    part = path.with_name(f".{path.name}.part")
    try:
        if path.exists():
            if _is_right(path, size, known_hash):
                return path
            raise PacavitError(
                f"{path}: is not the file that {url} should give ({known_hash or f'{size:,} bytes'}); move it away to "
                "have that one downloaded, or use it by kind: own with verify: nothing"
            )
        _Resuming(part, size).fetch(url)
        if not _is_right(part, None, known_hash):
            part.unlink()
            raise PacavitError(
                f"{url}: came whole, but is not the file that it should be ({known_hash}); ask the server's keeper, or "
                "set another mirror"
            )
        part.replace(path)
    except OSError as error:
        raise PacavitError(
            f"{path}: cannot be written ({error}); free space or choose another folder"
        ) from error
    return path


def _is_right(path: Path, size: int | None, known_hash: str | None) -> bool:
    if size is not None and path.stat().st_size != size:
        return False
    kind, _, expected = (known_hash or "").partition(":")
    return known_hash is None or hashes.file_hash(str(path), alg=kind) == expected


class _Resuming:
    """A download that continues the file ``part``.

    Args:
        part: what has arrived so far.
        size: bytes of the whole file, if known.
    """

    def __init__(self, part: Path, size: int | None) -> None:
        self.part = part
        self.size = size

    def fetch(self, url: str) -> None:
        """Bring ``part`` to its full length."""
        failures, pause = 0, PAUSE
        while True:
            before = self._have()
            try:
                self._attempt(url)
                return
            except requests.HTTPError as error:
                status = error.response.status_code
                if status < 500 and status != 429:
                    raise PacavitError(f"{url}: the server answers {status}; look at the address") from error
                problem = f"the server answers {status}"
            except (requests.RequestException, urllib3.exceptions.HTTPError, EOFError) as error:
                problem = str(error) or type(error).__name__
            failures = 0 if self._have() - before >= _CHUNK else failures + 1
            pause = PAUSE if failures == 0 else pause * 2
            if failures >= ATTEMPTS:
                raise PacavitError(
                    f"{url}: given up after {failures} attempts in a row, at {self._have():,} bytes "
                    f"({problem}); run the command again to go on from there"
                )
            time.sleep(pause)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self, url: str) -> None:
        """Ask for what is missing and append it.

        Raises:
            EOFError: the answer ended early.
            requests.RequestException: no answer, or a bad one.
        """
        have = self._have()
        if self.size is not None and have == self.size:
            return
        if self.size is not None and have > self.size:
            self.part.unlink()
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:
                # Nothing lies behind what is here: it is whole, or of another file, which the hash will tell.
                if self.size is None:
                    return
                self.part.unlink()
                raise EOFError("the server has fewer bytes than were there already")
            answer.raise_for_status()
            if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                have = 0  # the server starts from the beginning, whatever was asked
            self._append(answer, have)

    def _append(self, answer: requests.Response, have: int) -> None:
        length = answer.headers.get("Content-Length")
        total = self.size if self.size is not None else (have + int(length) if length else None)
        self.part.parent.mkdir(parents=True, exist_ok=True)
        bar = tqdm(
            desc=self.part.name[1:].removesuffix(".part"),
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=None,
        )
        with contextlib.closing(bar), open(self.part, "ab" if have else "wb") as file:
            # Else what came before a connection broke would be thrown away with the error.
            answer.raw.enforce_content_length = False
            for chunk in answer.raw.stream(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
                if total is not None and have > total:
                    raise PacavitError(
                        f"{answer.url}: sends more than the {total:,} bytes of the file; look at the address"
                    )
        if total is not None and have < total:
            raise EOFError(f"it ended at {have:,} of {total:,} bytes")
