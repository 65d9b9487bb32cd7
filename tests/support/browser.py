"""A page in a real browser: what it says on its console, and what a script finds in it."""

import json
import re
import shutil
import subprocess
import tempfile
from html import escape, unescape
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000",
    "--window-size=1600,1200",
)  # fmt: skip
# A page in a frame has the frame's width; a window without a screen may have a least one.
HARNESS = """<!doctype html><meta charset="utf-8"><body>{frames}<pre id="found"></pre><script>
const look = {look};
addEventListener("load", () => {{
  const frames = [...document.querySelectorAll("iframe")];
  document.getElementById("found").textContent =
    JSON.stringify(frames.map(frame => look(frame.contentDocument, frame.contentWindow)));
}});
</script></body>"""


def find():
    """The browser's path, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def look(pages, width, script, dark=False):
    """(What `script`, a function (document, window) => value, finds in each page; the messages on
    the console). The pages are this many pixels wide.
    """
    frames = "".join(
        f'<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{escape(page)}">'
        "</iframe>"
        for page in pages
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "harness.html"
        file.write_text(HARNESS.format(frames=frames, look=script))
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        command = [find(), *FLAGS, scheme, f"--user-data-dir={folder}/profile", "--dump-dom"]
        done = subprocess.run(
            [*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    console = re.findall(r"CONSOLE.*", done.stderr)
    return json.loads(unescape(found[1])), console
