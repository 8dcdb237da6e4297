"""Takes passwords out of what is printed and written down."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY = re.compile(r"(?i)([?&][\w.-]*(?:password|passwd|token|secret|key|signature)=)[^&\s'\"]*")


def without_passwords(text: str) -> str:
    """Return a text whose addresses have neither user and password nor secrets among their parameters."""
    return _QUERY.sub(r"\1***", _USER.sub("", text))
