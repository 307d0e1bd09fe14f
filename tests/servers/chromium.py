"""Chromium: the system's browser, driven by Playwright; a browser is never downloaded."""

import shutil
from pathlib import Path

from tests.servers.process import ServerMissing

# As root there is no user namespace to hide in; the rest keeps the browser from calling home.
ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def path() -> Path:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    raise ServerMissing("Chromium is missing: run ./test as root, or install it:  sudo apt-get install chromium")
