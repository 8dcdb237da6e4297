"""Nothing that is printed or written down tells a password."""

import sys

import pytest

from pacavit.redaction import redacted_output, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hunter2@host/path", "https://host/path"),
        (
            "postgresql+psycopg://me:hunter2@host:5432/runs failed",
            "postgresql+psycopg://host:5432/runs failed",
        ),
        ("see 'http://hunter2@host' and http://other", "see 'http://host' and http://other"),
        ("https://me:hunter2@x@host/", "https://host/"),
        ("https://host/a?user=me&password=hunter2&b=1", "https://host/a?user=me&password=***&b=1"),
        ("s3://bucket/x?X-Amz-Signature=hunter2", "s3://bucket/x?X-Amz-Signature=***"),
    ],
)
def test_an_address_is_shown_without_its_secrets(text, shown):
    assert without_passwords(text) == shown


@pytest.mark.parametrize("text", ["sqlite:////home/me@work/mlflow.db", "pretrain@v-0: a@b", "work//me@x"])
def test_what_holds_no_secret_stays(text):
    assert without_passwords(text) == text


def test_what_others_print_goes_through_it_too(capsys):
    with redacted_output():
        print("at http://me:hunter2@host")
        print("at http://me:hunter2@host", file=sys.stderr)
    print("at http://me:hunter2@host")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("at http://host\nat http://me:hunter2@host\n", "at http://host\n")
