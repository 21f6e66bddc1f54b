"""Spelling of commands as users can type them here: our own, for usage lines, and those installed beside them."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPORT_FOLDER = Path("results/report")  # where a report is written by default


def command_parser(module: str, does: str, examples: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return a parser for the command `module`, which `does` something, with `--version` and examples of arguments."""
    name = called(module)
    p = argparse.ArgumentParser(
        prog=name,
        description=does,
        epilog="examples:\n" + "\n".join(f"  {name} {words}" for words in examples) if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    return p


def _version() -> str:
    """Return the version of this package; a plain checkout has none."""
    with suppress(PackageNotFoundError):
        return version("pruning-sweeps")
    return "of a checkout that is not installed"


def called(module: str) -> str:
    """Return the command's name, such as `prune-sweep`, if it was started by that; else `python -m` and the module."""
    name = Path(sys.argv[0]).stem
    return name if name.startswith("prune-") else f"python -m {module}"


def program_path(program: str) -> str:
    """Return `mlflow` if the shell finds the one of this environment, else its path: `.venv/bin/mlflow`."""
    own = Path(sys.executable).with_name(program)
    if not own.exists() or shutil.which(program) == str(own):
        return program
    short = os.path.relpath(own)
    return str(own) if short.startswith("..") else short


SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # one of these is set where a browser can be opened


def open_page(page: Path) -> str:
    """Open `page` in a browser; return "", or why not. Never a terminal browser: it takes over the terminal."""
    if sys.platform not in ("darwin", "win32") and not any(os.environ.get(name) for name in SCREENS):
        return "--open: this machine has no screen for a browser; open the report on another machine"
    if open_address(page.resolve().as_uri()):
        return ""
    return "--open: no browser could be started; open the report by hand"


def open_address(address: str) -> bool:
    """Open an address in a browser; return True if one was started."""
    with suppress(webbrowser.Error, OSError):
        return webbrowser.open(address)
    return False
