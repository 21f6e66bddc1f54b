"""The report of a large sweep: seconds and memory, from a database file and from an MLflow server over HTTP.

    python -m benchmarks.report [--trials 2000] [--epochs 160] [--masks] [--keep FOLDER]
    python -m benchmarks.report --page FOLDER/file/report/report.html

The store is made first, which is not measured. The targets are 60 s and 2 GiB for 2,000 trials of 160 epochs. With
`--page` a report is opened in Chromium instead, for its size (3 MB at most for 500 trials), time to load and memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.large_store import build

SECONDS, BYTES = 60, 2 * 2**30


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """An MLflow server over the store in `folder`, on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
               "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        uri = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield uri
    finally:
        server.terminate()
        server.wait()
        log.close()


def measure(uri: str, output: Path) -> tuple[float, int]:
    """Wall seconds of the command, and the bytes it held at most."""
    command = [sys.executable, "-m", "orchestrator.report", "large", "--tracking-uri", uri, "--output", str(output)]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--no-log"], stdout=subprocess.DEVNULL) as process:
        # wait4 and not RUSAGE_CHILDREN: that would be the largest of all children so far, the server's too.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"the report failed with exit code {process.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_page(page: Path) -> None:
    """Print a page's size, and in Chromium the time until it is ready and its memory, at first and scrolled through."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def mebibytes() -> float:
        driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        heap = {
            entry["name"]: entry["value"] for entry in driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        }
        return float(heap["JSHeapUsedSize"]) / 2**20

    try:
        driver.execute_cdp_cmd("Performance.enable", {})
        driver.get(page.resolve().as_uri())
        ready = "return document.documentElement.dataset.ready && performance.now()"
        loaded = WebDriverWait(driver, 120, 0.05).until(lambda _: driver.execute_script(ready))
        at_first, charts = mebibytes(), driver.execute_script("return document.querySelectorAll('.plot').length")
        drawn = "return document.querySelectorAll('.plot')[arguments[0]].dataset.drawn"
        for number in range(charts):
            driver.execute_script("document.querySelectorAll('.plot')[arguments[0]].scrollIntoView()", number)
            WebDriverWait(driver, 120, 0.05).until(lambda _, n=number: driver.execute_script(drawn, n))
        print(
            f"{page.stat().st_size / 1e6:.2f} MB; ready after {loaded / 1000:.1f} s; {at_first:.0f} MiB of script at "
            f"first, {mebibytes():.0f} MiB with all {charts} charts drawn"
        )
    finally:
        driver.quit()


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--keep", type=Path, help="keep the store and the reports in this folder")
    parser.add_argument("--masks", action="store_true", help="each trial has masks of 20 layers of 64 x 64 x 3 x 3")
    parser.add_argument("--kinds", nargs="+", default=["file", "http"], choices=["file", "http"])
    parser.add_argument("--page", type=Path, help="measure this report in Chromium, and nothing else")
    given = parser.parse_args()
    if given.page:
        measure_page(given.page)
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        for kind in given.kinds:
            folder = root / kind
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "mlflow.db").exists():
                build(folder, "large", given.trials, given.epochs, remote=kind == "http", masks=given.masks)
            if kind == "http":
                with served(folder) as uri:
                    seconds, peak = measure(uri, folder / "report")
            else:
                seconds, peak = measure(f"sqlite:///{folder / 'mlflow.db'}", folder / "report")
            print(
                f"report of {given.trials} trials x {given.epochs} epochs, {kind}: {seconds:.1f} s "
                f"({seconds / SECONDS:.2f} of the target), {peak / 2**20:.0f} MiB ({peak / BYTES:.2f} of the target)"
            )


if __name__ == "__main__":
    main()
