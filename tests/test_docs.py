"""The pages of docs/ build without a warning, and ask no other machine for anything."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pruners import PRUNERS

ROOT = Path(__file__).parent.parent
build = pytest.importorskip("sphinx.cmd.build", reason="the extra docs is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of Sphinx, for its extensions


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    words = ["--fail-on-warning", "--keep-going", "--quiet", "-b", "html", "-d", folder / "doctrees"]
    assert build.main([*map(str, words), str(ROOT / "docs"), str(folder / "html")]) == 0
    return folder / "html"


class Asked(HTMLParser):
    """What a browser fetches for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        keys = {"a": (), "link": ("href",)}.get(tag, ("src", "srcset", "data", "poster"))
        if not (tag == "link" and given.get("rel") in ("next", "prev", "search", "index", "canonical")):
            self.urls += [given[key] for key in keys if given.get(key)]


def test_every_page_is_there_and_asks_only_for_files_beside_it(built):
    for page in [*(ROOT / "docs").glob("*.md")]:
        file = built / f"{page.stem}.html"
        asked = Asked()
        asked.feed(file.read_text(encoding="utf-8"))
        assert len(asked.urls) > 3
        for url in asked.urls:
            if not url.startswith(("data:", "#")):
                assert (built / re.sub(r"[?#].*", "", url)).is_file(), (page.name, url)


def test_the_page_of_names_has_all_that_is_registered(built):
    page = unescape((built / "names.html").read_text(encoding="utf-8"))
    assert [name for name, pruner in PRUNERS.items() if f"{name} " not in page or pruner.summary not in page] == []


def test_nor_do_its_styles(built):
    for file in built.rglob("*.css"):
        found = re.findall(r"""(?:@import\s*|url\()\s*["']?((?:https?:)?//[^"')]+)""", file.read_text(encoding="utf-8"))
        assert not found, (file.name, found)


@pytest.mark.parametrize("door", ["pruners.prune", "build", "load", "plan"])
def test_the_front_doors_have_their_signatures(built, door):
    name = {
        "build": "trainables.architectures.build",
        "load": "search_spaces.load",
        "plan": "orchestrator.planning.plan",
    }
    assert f'id="{name.get(door, door)}"' in (built / "api.html").read_text(encoding="utf-8")
