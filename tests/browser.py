"""Opens pages in a real browser for tests, where one is installed."""

import html
import json
import os
import re
import shutil
import subprocess

import pytest

BROWSERS = (
    "chromium-headless-shell",
    "headless_shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "chrome",
)
BROWSER = os.environ.get("VLIF_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here; VLIF_BROWSER names one"
)

WATCH = """<script>
window.failures = [];
addEventListener("error", (event) => failures.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => failures.push(event.blockedURI));
</script>"""


def act_on(text, script, folder, size):
    """Open a page in a window of that size, run a script in it, and hand back what it found.

    The script leaves JSON in an element with the id ``found``.
    """
    path = folder / "acted.html"
    path.write_text(
        text.replace("<style>", WATCH + "<style>", 1).replace("</body>", script + "</body>"),
        "utf-8",
    )
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))
