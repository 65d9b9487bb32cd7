"""Lines of README and docs that can be typed."""

import re

from tests.support.runs import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, kind):
    """The blocks of a page that are of one kind: "python", or "" for commands."""
    text = (ROOT / page).read_text()
    return [body for named, body in BLOCK.findall(text) if named == kind]
