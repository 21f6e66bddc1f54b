"""A page is shown only where there is a screen."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from orchestrator import command_line
from orchestrator.command_line import open_page


@pytest.mark.parametrize(("screen", "shown"), [({}, False), ({"DISPLAY": ":0"}, True), ({"BROWSER": "mine"}, True)])
def test_only_with_a_screen(
    screen: dict[str, str], shown: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    monkeypatch.setattr(command_line.sys, "platform", "linux")
    for name in command_line.SCREENS:
        monkeypatch.delenv(name, raising=False)
    for name, value in screen.items():
        monkeypatch.setenv(name, value)
    assert (open_page(tmp_path / "report.html") == "") is shown
    assert opened == ([(tmp_path / "report.html").as_uri()] if shown else [])


def test_a_browser_that_does_not_start_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(url: str) -> bool:
        raise webbrowser.Error("no runnable browser")

    monkeypatch.setattr(webbrowser, "open", broken)
    monkeypatch.setenv("BROWSER", "mine")
    assert open_page(tmp_path / "report.html") == "--open: no browser could be started; open the report by hand"
