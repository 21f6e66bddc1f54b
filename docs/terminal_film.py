"""Record a command in a terminal and write it as a moving SVG, which a browser plays without a script.

    .venv/bin/pip install pyte
    .venv/bin/python docs/terminal_film.py docs/sweep.svg -- .venv/bin/python -m orchestrator.sweep digits --local \\
        --set architecture=mlp --set 'pruner=[snip, synflow]' --set 'compression=[1, 10, 50]'

Start it in a folder without results. The picture shows what the terminal showed, without the pauses: its title says how
long it took. Paths below the current folder become relative.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shlex
import struct
import termios
import time
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

WIDTH, HEIGHT = 100, 26  # characters
CELL, LINE = 8.43, 17  # pixels of a character of 14 pixels
MARGIN, TITLE = 14, 34
FRAMES = 60  # most pictures
PAUSE = 1.0  # seconds, the longest pause
REST = 0.3  # share of the time in which the last picture stays, to be read
PAPER, INK = "#16181d", "#d8dbe2"
COLORS = {"black": "#5c6370", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "yellow": "#e5c07b",
          "blue": "#61afef", "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d8dbe2"}  # fmt: skip
State = tuple[str, ...]  # a screen, a line of SVG each


def main() -> None:
    """Run the command and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    shown = screens(record(given.command))
    given.picture.write_text(film(shown, given.seconds, _short(shlex.join(given.command))), encoding="utf-8")


def record(command: Sequence[str]) -> Iterator[tuple[float, bytes]]:
    """Run the command in a terminal; yield the seconds since the start and what it writes."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(WIDTH), LINES=str(HEIGHT))
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    started = time.monotonic()
    while content := _read(terminal):
        yield time.monotonic() - started, content
    os.waitpid(process, 0)


def screens(written: Iterable[tuple[float, bytes]], here: str = f"{Path.cwd()}/") -> list[tuple[float, State]]:
    """Return the screen after each piece of output; paths below the folder `here` become relative."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.ByteStream(screen)
    shown = []
    for moment, content in written:
        stream.feed(content.replace(f"sqlite:///{here}".encode(), b"sqlite:///").replace(here.encode(), b""))
        shown.append((moment, _lines(screen)))
    return shown


def _short(command: str, most: int = 75) -> str:
    return command if len(command) <= most else f"{command[: most - 1].rstrip()}…"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so at the end of a terminal
        return b""


def _lines(screen: pyte.Screen) -> State:
    return tuple(_line([screen.buffer[y][x] for x in range(WIDTH)]) for y in range(HEIGHT))


def _line(cells: Sequence[pyte.screens.Char]) -> str:
    """Return the line as tspans, one for each run of characters of one look."""
    spans, x = [], 0
    for (color, bold), run in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in run)
        if text.strip():
            fill = COLORS.get(color.removeprefix("bright"), INK if color == "default" else f"#{color}")
            weight = ' font-weight="bold"' if bold else ""
            spans.append(f'<tspan x="{x * CELL:.1f}" fill="{fill}"{weight}>{escape(text.rstrip())}</tspan>')
        x += len(text)
    return "".join(spans)


def film(shown: Sequence[tuple[float, State]], seconds: float, command: str) -> str:
    """Return the SVG. Screens are a strip that is moved by one screen at a time; the last one stays for a while."""
    clock, changed, words, times = 0.0, 0.0, "", []
    for moment, state in shown:  # other words count as a change; a spinner that turns does not
        if (now := re.sub(r"<[^>]*>|[^A-Za-z]", "", "".join(state))) != words:
            clock += min(moment - changed, PAUSE)
            changed, words = moment, now
        times.append(clock)
    slots: dict[int, State] = {}  # of the moments in which a picture can change, the last screen
    for moment, (_, state) in zip(times, shown, strict=True):
        slots[min(FRAMES - 1, int(moment / max(clock, 1e-9) * FRAMES))] = state
    frames = [(slot / FRAMES, state) for slot, state in sorted(slots.items())]
    steps = []
    strip = []
    for number, (share, state) in enumerate(frames):
        steps.append(f"{100 * share * (1 - REST):.2f}%{{transform:translateY({-number * HEIGHT * LINE}px)}}")
        top = number * HEIGHT * LINE
        strip += [f'<text y="{top + (y + 0.78) * LINE:.1f}">{line}</text>' for y, line in enumerate(state) if line]
    end = -(len(frames) - 1) * HEIGHT * LINE
    last = f"100%{{transform:translateY({end}px)}}"
    width, height = WIDTH * CELL + 2 * MARGIN, HEIGHT * LINE + TITLE + MARGIN
    title = f"$ {command}   (of {shown[-1][0]:.0f} s, without the pauses)"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">
<title>{escape(title)}</title>
<style>
text{{font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:{INK}}}
#strip{{animation:play {seconds:g}s step-end infinite}}
@keyframes play{{{"".join(steps)}{last}}}
@media (prefers-reduced-motion:reduce){{#strip{{animation:none;transform:translateY({end}px)}}}}
</style>
<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>
<text x="{MARGIN}" y="22" style="font-size:12px;fill:#8b919d">{escape(title)}</text>
<svg x="{MARGIN}" y="{TITLE}" width="{WIDTH * CELL:.0f}" height="{HEIGHT * LINE}"><g id="strip">
{chr(10).join(strip)}
</g></svg>
</svg>
"""


if __name__ == "__main__":
    main()
