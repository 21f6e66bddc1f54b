"""Chart library of the page: Vega-Lite, from the package vl-convert-python, so that nothing is fetched at run time."""

from __future__ import annotations

import gzip
import subprocess
import sys
from base64 import b64encode
from functools import lru_cache

BUNDLE = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"


@lru_cache(maxsize=1)
def chart_library() -> str:
    """Return the script of Vega, Vega-Lite and Vega-Embed, compressed for a page.

    Another process builds it, which takes 2.5 s and 150 MB: a sweep, which writes reports too, has that memory back.
    """
    built = subprocess.run([sys.executable, "-c", BUNDLE], capture_output=True, check=True).stdout
    return compressed(built)


def compressed(content: bytes) -> str:
    """Return bytes as gzip in base64: a third of a script's size; equal bytes give equal text."""
    return b64encode(gzip.compress(content, 9, mtime=0)).decode()
