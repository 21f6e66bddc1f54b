"""The page as people use it, in Debian's Chromium through its driver: `apt-get install chromium chromium-driver`."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invented_sweep import build
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from orchestrator.report.write import write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver in PATH"),
]
PATIENCE = 60  # seconds; a busy machine takes some


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = build(tmp_path_factory.mktemp("store"), architectures=["resnet20"], masks=True)
    return write_report(store.uri, "small", tmp_path_factory.mktemp("report"), log=False).page


class Browser:
    """One page in one window of Chromium."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1200, height: int = 900, **media: str) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media.get("kind", ""), "features": features}
        )
        self.driver.get(page.as_uri())
        self.until("return document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def until(self, script: str, *values: Any) -> Any:
        return WebDriverWait(self.driver, PATIENCE).until(lambda driver: driver.execute_script(script, *values))

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def see(self, selector: str) -> None:
        """Scroll there and wait until all charts inside are drawn."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.until(
            "return [...document.querySelector(arguments[0]).querySelectorAll('.plot')].every(p => p.dataset.drawn)",
            selector,
        )

    def marks(self, figure: str) -> int:
        """Count the visible marks of points of a figure's charts."""
        return len(self.all(f"{figure} .plot .mark-symbol path[aria-roledescription='point']"))


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def browser(window: Browser, report: Path) -> Browser:
    window.open(report)
    return window


def test_it_asks_for_nothing_and_raises_nothing(browser: Browser) -> None:
    for section in ("#accuracy", "#pair", "#masks"):
        browser.see(section)
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert asked and {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_pointing_at_a_mark_tells_its_value(browser: Browser) -> None:
    browser.see("#accuracy")
    mark = browser.run(
        "return [...document.querySelectorAll('#accuracy .mark-symbol path')]"
        ".find(mark => mark.ariaLabel?.startsWith('snip, 10x'))"
    )
    ActionChains(browser.driver).move_to_element(mark).perform()
    said = browser.until("return document.querySelector('#vg-tooltip-element.visible')?.innerText")
    assert "snip" in said and "10x" in said and "95 % interval" in said and "2 (seeds 0, 1)" in said
    mark.click()
    link = browser.until("return document.querySelector('#accuracy .readout a')?.href")
    assert link.startswith("http://127.0.0.1:5000/#/experiments/1/runs/") and len(link.rpartition("/")[2]) == 32


def test_the_legend_hides_a_pruner_in_all_charts(browser: Browser) -> None:
    figures = ("#accuracy", "#macs", "#tradeoff")
    for figure in figures:
        browser.see(figure)
    before = {figure: browser.marks(figure) for figure in figures}
    snip = next(chip for chip in browser.all("#legend .chip") if chip.text == "snip")
    snip.click()
    assert snip.get_attribute("aria-pressed") == "false"
    browser.until("return [...views].every(view => !view.signal('shown').includes(1))")
    WebDriverWait(browser.driver, PATIENCE).until(lambda _: all(browser.marks(f) < before[f] for f in figures))
    browser.find("#legend .all").click()
    WebDriverWait(browser.driver, PATIENCE).until(lambda _: {f: browser.marks(f) for f in figures} == before)


def test_two_pruners_side_by_side(browser: Browser) -> None:
    browser.see("#pair")
    panel, one, other, compression = (Select(select) for select in browser.all("#pair-view select"))
    assert [option.text for option in panel.options] == ["resnet20 · cifar10"]
    one.select_by_visible_text("snip")
    other.select_by_visible_text("synflow")
    compression.select_by_visible_text("2x")
    browser.see("#pair")
    titles = [text.text for text in browser.all("#pair-view .mark-text.role-title-text text")]
    assert titles == ["resnet20 · cifar10: accuracy", "weights kept per layer, 2x", "overlap of masks per layer, 2x",
                      "learning curves, 2x"]  # fmt: skip
    assert "intersection over union" in browser.find("#pair-view > .soft").text


def test_masks_show_where_a_network_is_cut(browser: Browser) -> None:
    browser.see("#masks")
    Select(browser.all("#mask-view select")[1]).select_by_visible_text("10x")
    tiles = browser.all("#mask-view .tile")
    assert len(tiles) == 2 * 5  # synflow failed here; layers
    cut = browser.all("#mask-view .tile.cut")
    assert [tile.get_attribute("aria-label").partition(":")[0] for tile in cut] == ["random, seed 0, 1"]
    assert "cut at 1" in browser.find("#mask-view thead").text
    filled = browser.run(
        "return [...document.querySelectorAll('#mask-view canvas')].map(c => c.getContext('2d').getImageData(0, 0, "
        "c.width, c.height).data.some(v => v))"
    )
    assert filled.count(False) == 1


def test_all_works_without_a_mouse(browser: Browser, report: Path) -> None:
    browser.open(report)  # no point is chosen yet
    browser.see("#accuracy")
    chip = browser.find("#legend .chip")
    chip.send_keys(Keys.SPACE)
    assert chip.get_attribute("aria-pressed") == "false"
    chip.send_keys(Keys.SPACE)
    plot = browser.find("#accuracy .plot")
    plot.send_keys(Keys.ARROW_RIGHT)
    first = browser.until("return document.querySelector('#accuracy .readout').innerText")
    plot.send_keys(Keys.ARROW_RIGHT)
    second = browser.until("return document.querySelector('#accuracy .readout').innerText")
    assert first.startswith("random · 1x") and second.startswith("random · 2x")
    domain = "return document.querySelector('#accuracy .plot').view.scale('x').domain()"
    whole = browser.run(domain)
    plot.send_keys("+")
    browser.until(f"{domain.replace('return', 'const now =')}; return now[1] < {whole[1]}")
    plot.send_keys("0")
    browser.until(f"{domain.replace('return', 'const now =')}; return now[1] === {whole[1]}")
    head = browser.find("#tables .sorts thead th:nth-child(3) button")
    head.send_keys(Keys.ENTER)
    column = "return [...document.querySelector('#tables .sorts').tBodies[0].rows].map(r => +r.cells[2].dataset.value)"
    assert (values := browser.run(column)) == sorted(values)
    head.send_keys(Keys.ENTER)
    assert browser.run(column) == sorted(values, reverse=True)
    browser.run("document.querySelector('#trials details').open = true")
    browser.find("#trials .filter").send_keys("synflow 10")
    rows = browser.all("#trials tbody tr:not([hidden])")
    assert rows and all("synflow" in row.text for row in rows)


def test_a_table_gives_its_csv(browser: Browser, report: Path) -> None:
    text = browser.driver.execute_async_script(
        "const done = arguments[0], request = new XMLHttpRequest();"
        "request.open('GET', document.querySelector('[data-csv=\"accuracy.csv\"] a').href);"
        "request.onload = () => done(request.responseText); request.send()"
    )
    assert text == (report.parent / "tables" / "accuracy.csv").read_text()
    button = browser.find('[data-csv="accuracy.csv"] button')
    browser.run("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    browser.until("return document.querySelector('[data-csv=\"accuracy.csv\"] button').textContent === 'copied'")


def test_a_phone_shows_all_of_it(window: Browser, report: Path) -> None:
    window.open(report, width=390, height=844)
    window.see("#accuracy")
    assert window.run("return document.documentElement.scrollWidth") <= 390
    for selector in ("#legend .chip:not([hidden])", "#accuracy .plot svg", "#scores-resnet20-cifar10 img"):
        ends = window.run("return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect()).map("
                          "r => [r.left, r.right])", selector)  # fmt: skip
        assert ends and all(left >= 0 and right <= 390 for left, right in ends), selector


def test_on_paper_figures_take_the_place_of_charts(window: Browser, report: Path) -> None:
    window.open(report, kind="print")
    assert not any(chart.is_displayed() for chart in window.all(".charts, #legend, #pair, #masks"))
    widths = window.until("const w = [...document.querySelectorAll('figure img')].map(i => i.naturalWidth && "
                          "i.getBoundingClientRect().width); return w.every(Boolean) && w")  # fmt: skip
    assert len(widths) == len(window.all("figure"))


def test_dark_paper_has_light_ink(window: Browser, report: Path) -> None:
    def brightness(color: str) -> int:
        return sum(int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])

    window.open(report, scheme="dark")
    window.see("#accuracy")
    paper = window.run("return getComputedStyle(document.body).backgroundColor")
    inks = window.run(
        "return [...document.querySelectorAll('#accuracy .plot svg text')].map(t => getComputedStyle(t).fill)"
    )
    assert inks and brightness(paper) < 120 and all(brightness(ink) > 350 for ink in inks)
    lines = window.run(
        "return [...document.querySelectorAll('#accuracy .mark-line path')].map(p => getComputedStyle(p).stroke)"
    )
    assert lines and all(brightness(line) > 250 for line in lines)


class Clicks:
    """A reader who opens the page afresh and clicks; words typed into a box count as one click."""

    def __init__(self, browser: Browser, report: Path) -> None:
        browser.open(report)
        self.browser, self.count = browser, 0

    def on(self, element: WebElement) -> None:
        self.count += 1
        self.browser.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def choose(self, place: str, number: int, text: str) -> None:
        self.count += 1
        Select(self.browser.all(f"{place} select")[number]).select_by_visible_text(text)

    def go(self, section: str) -> None:
        self.on(self.browser.find(f"nav a[href='#{section}']"))


def test_six_tasks_take_few_clicks(window: Browser, report: Path) -> None:
    counts = {}

    reader = Clicks(window, report)  # the best run of SNIP at 10x, opened in MLflow
    window.see("#accuracy")
    mark = window.run("return [...document.querySelectorAll('#accuracy .mark-symbol path')]"
                      ".find(mark => mark.ariaLabel?.startsWith('snip, 10x'))")  # fmt: skip
    reader.on(mark)
    links = window.until("const a = [...document.querySelectorAll('#accuracy .readout a')]; return a.length && a")
    reader.count += 1  # on one of the runs, whose values stand beside them
    rows = list(csv.DictReader((report.parent / "tables" / "trials.csv").open()))
    snip = [row["run_id"] for row in rows if (row["pruner"], row["compression"]) == ("snip", "10")]
    assert {link.get_attribute("href").rpartition("/")[2] for link in links} == set(snip)
    counts["best SNIP"] = reader.count

    reader = Clicks(window, report)
    reader.go("pair")
    reader.choose("#pair-view", 1, "snip")
    reader.choose("#pair-view", 2, "synflow")
    reader.choose("#pair-view", 3, "10x")
    window.see("#pair")
    title = "return [...document.querySelectorAll('#pair-view .role-title-text text')].map(t => t.textContent)"
    assert "weights kept per layer, 10x" in window.run(title)
    counts["density of two pruners"] = reader.count

    reader = Clicks(window, report)
    reader.on(window.find(".index summary"))
    reader.on(window.find(".index a[href^='#training']"))
    assert window.run("return location.hash.startsWith('#training')")
    window.see("figure[id^='training']")
    counts["learning curves"] = reader.count

    reader = Clicks(window, report)
    reader.go("missing")
    assert "the loss is not finite in epoch 2" in window.find("#missing").text
    counts["failed trials"] = reader.count

    reader = Clicks(window, report)
    reader.go("masks")
    window.see("#masks")
    reader.choose("#mask-view", 1, "10x")
    assert window.all("#mask-view .tile canvas")
    counts["a mask"] = reader.count

    reader = Clicks(window, report)
    reader.go("tables")
    reader.on(window.find('[data-csv="accuracy.csv"] button'))
    window.until("return document.querySelector('[data-csv=\"accuracy.csv\"] button').textContent === 'copied'")
    counts["a CSV"] = reader.count

    assert counts == {"best SNIP": 2, "density of two pruners": 4, "learning curves": 2, "failed trials": 1,
                      "a mask": 2, "a CSV": 2}  # fmt: skip
