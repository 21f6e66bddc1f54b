"""A page shown in the browser, where there is one to show it in."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # one of these is set where a browser can be opened


def show(page: Path) -> str:
    """Open `page`. Returns why not, "" if it was. Never a browser in the terminal, which would take it over."""
    if sys.platform not in ("darwin", "win32") and not any(os.environ.get(name) for name in SCREENS):
        return "--open: no screen here to show a browser on; open the report from where there is one"
    with suppress(webbrowser.Error, OSError):
        if webbrowser.open(page.resolve().as_uri()):
            return ""
    return "--open: no browser could be started; open the report by hand"
