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

SHELLS = ("bash", "zsh", "tcsh")  # those that shtab knows
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
    script = "print a script that completes this command's options in a shell"
    p.add_argument("--print-completion", action=_PrintCompletion, choices=SHELLS, metavar="SHELL", help=script)
    return p


class _PrintCompletion(argparse.Action):
    """Print the completion of the command for a shell, and end."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: object, option: str | None = None) -> None:
        try:
            import shtab
        except ImportError:
            parser.error(f"{option} needs the package shtab; run: pip install shtab")
        from search_spaces import presets

        for action in parser._actions:
            if action.type is Path:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            if action.dest == "space":
                action.complete = {"bash": "_prune_spaces", "zsh": "_files"}  # type: ignore[attr-defined]
        spaces = f'compgen -W "{" ".join(presets())}" -- "$1"; compgen -f -X "!*.y*ml" -- "$1"'
        preamble = f"_prune_spaces() {{ {spaces}; }}" if shell == "bash" else ""
        sys.stdout.write(f"{shtab.complete(parser, shell=str(shell), preamble=preamble)}\n")
        parser.exit()


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
