"""How `make docs` builds these pages. They ask no other machine for anything, neither built nor read."""

from __future__ import annotations

import sys
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "Pruning sweeps"
project_copyright = "the authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
default_role = "code"  # docstrings write `name` in single backticks
autodoc_typehints = "signature"
maximum_signature_line_length = 90
napoleon_google_docstring = True
myst_heading_anchors = 3


def setup(app: Any) -> None:
    from orchestrator.planning.catalog import show_catalog

    def list_names(_: Any, page: str, source: list[str]) -> None:
        """Ends the page of names with what `--list` shows, so that what is registered needs no line there."""
        if page == "names":
            show_catalog(Console(file=(shown := StringIO())))
            source[0] += f"\n## All of them\n\n```text\n{shown.getvalue()}```\n"

    app.connect("source-read", list_names)
