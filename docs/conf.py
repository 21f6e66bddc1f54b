"""How `make docs` builds these pages. They ask no other machine for anything, neither built nor read."""

from __future__ import annotations

import sys
from pathlib import Path

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
