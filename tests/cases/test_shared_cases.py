"""The small inputs of ../shared/cases on which the program once failed, run as they are in a copy of their folder.

Some print FAIL whatever comes out; of those the values are judged.
"""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from trainables import datasets

ROOT = Path(__file__).parents[2]
CASES = next((up / "shared" / "cases" for up in ROOT.parents if (up / "shared" / "cases").is_dir()), None)
DRIVER = Path(__file__).with_name("statements.py")
pytestmark = [
    pytest.mark.zoo,
    pytest.mark.skipif(CASES is None, reason="there is no ../shared/cases beside the checkout"),
]


@pytest.fixture
def folder(tmp_path):
    assert CASES is not None
    shutil.copytree(CASES, tmp_path / "cases")
    for file in (tmp_path / "cases").iterdir():
        file.chmod(0o644)
    (tmp_path / "cases").chmod(0o755)
    (tmp_path / "cases" / "scratch").mkdir()
    return tmp_path / "cases"


def python(folder, *words):
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def lines(folder, script, *words):
    """What the case prints, line by line."""
    ran = python(folder, DRIVER, script, *words)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = [line for line in ran.stdout.splitlines() if line.strip()]
    assert found, ran.stderr[-2000:]
    return found


HONEST = {  # case -> the lines that begin with OK
    "evaluated_wrong.py": 5,
    "bias_never_learns.py": 1,
    "images_lost.py": 6,
    "macs_of_attention.py": 3,
    "counts.py": 9,
    "deep_copy.py": 2,
    "batches_given.py": 12,
    "held_at_nan.py": 1,
}


@pytest.mark.parametrize("script", HONEST)
def test_every_line_is_ok(folder, script):
    found = lines(folder, script)
    assert [line for line in found if not line.startswith("OK")] == []
    assert len(found) == HONEST[script]


def test_macs_of_attention_are_torchs(folder):
    for line in lines(folder, "macs_of_attention.py"):
        ours, theirs = re.findall(r"([\d.]+) G", line)
        assert ours == theirs, line


def test_networks_that_run_are_accepted(folder):
    found = lines(folder, "refused_though_it_runs.py")
    assert len(found) == 4
    assert [line for line in found if "OK accepted" not in line] == []


def test_trials_end_or_are_refused_before_they_start(folder):
    found = {line.split()[0]: line for line in lines(folder, "trials_that_fail_at_the_end.py")}
    for net in ("plain", "frozen", "tied", "spectral", "normed"):
        assert "finished; trained and tested: True" in found[net], found[net]
    for net in ("all_frozen", "tuple_in_eval", "parallel", "lazy"):
        refused = "plan: SpaceError" in found[net] or "plan: ValueError" in found[net]
        assert refused or "finished; trained and tested: True" in found[net], found[net]
    assert "plan: " in found["all_frozen"]


def test_reparametrised_layers_take_part(folder):
    found = lines(folder, "reparametrised.py")
    assert [line for line in found if line.startswith(("  FAIL", "RAISED"))] == []
    masks = [line for line in found if "masks of" in line]
    assert len(masks) == 2
    for line in masks:
        sizes = ast.literal_eval(line.partition("masks of ")[2].partition(" expected")[0])
        assert sorted(sizes.values()) == [32, 216, 576], line
        macs = ast.literal_eval(line.partition("macs ")[2])
        assert sorted(of_weights for of_weights, _ in macs.values()) == [32, 216 * 64, 576 * 64], line


def test_inputs_changed_in_place_change_nothing(folder):
    found = lines(folder, "changed_in_place.py")
    assert [line for line in found[:7] if not line.startswith("OK")] == []
    one, other = found[7:]
    assert one.removeprefix("in_place ") == other.removeprefix("not_in_place ")
    assert "(4, 1, 3, 3)" in one


def test_2_of_4_runs_along_inputs(folder):
    found = lines(folder, "transposed_2_of_4.py")
    assert len(found) == 2
    assert "in a row: [2] expected [2]" in found[0]
    assert "density 0.5 expected" in found[1]


def test_scores_that_say_nothing_are_refused(folder):
    half, single, *others, ranks = lines(folder, "scores_without_a_word.py")
    assert "GraSP, float16" in half
    assert "GraSP, float32" in single
    assert half.partition(":")[2].split()[0] == single.partition(":")[2].replace("for comparison):", "").split()[0]
    assert [line.partition(":")[0] for line in others] == ["RAISED PruningError"] * 2
    assert all("score" in line for line in others)
    assert ranks.startswith("OK")


@pytest.fixture
def digits16(folder):
    """The digits in 16x16 pixels, every fifth of them for testing."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / "scratch" / "digits16" / ("test" if number % 5 == 0 else "train") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        pixels = (image * 15.9375).astype("uint8").repeat(2, 0).repeat(2, 1)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def sweep(folder, space, *words):
    return python(folder, "-m", "orchestrator.sweep", space, "--local", "--output", "out", *words)


def test_finished_trials_report_their_own_network(digits16):
    ran = sweep(digits16, "evaluated_wrong_finished.yaml")
    assert ran.returncode == 0, ran.stdout[-1500:] + ran.stderr[-1500:]
    data = datasets.load(f"folder:{digits16 / 'scratch' / 'digits16'}", None, digits16 / "scratch" / "again")
    x, y = map(torch.cat, zip(*data.test_batches("cpu"), strict=True))
    networks = runpy.run_path(str(digits16 / "own_nets.py"))
    compared = set()
    for file in (digits16 / "out" / "checkpoints").glob("*/weights.safetensors"):
        name = json.loads((file.parent / "trial.json").read_text())["architecture"].partition(":")[2]
        said = re.findall(r'"final/top1": ([\d.e-]+)', (file.parent / "outbox.jsonl").read_text())
        model = networks[name](data.input_shape, data.num_classes)
        model.load_state_dict(load_file(file))
        with torch.no_grad():
            hits = model.eval()(x).argmax(1) == y
        assert float(said[-1]) == pytest.approx(float(hits.float().mean()), abs=0.01), name
        compared.add(name)
    assert compared == {"tied", "hooked"}


def test_a_view_after_a_convolution_trains(digits16):
    space = digits16 / "view_after_convolution.yaml"
    space.write_text(space.read_text().replace("dataset: mnist", "dataset: folder:scratch/digits16"))
    ran = sweep(digits16, space, "--dry-run")
    assert ran.returncode == 0, ran.stdout[-1500:] + ran.stderr[-1500:]
    ran = sweep(digits16, space)
    assert ran.returncode == 0, ran.stdout[-1500:] + ran.stderr[-1500:]


def test_lazy_layers_run_or_are_refused_in_a_line(folder):
    ran = sweep(folder, "lazy.yaml", "--dry-run")
    assert ran.returncode in (0, 2)
    assert "Traceback" not in ran.stderr


def test_own_code_is_no_title(folder):
    (folder / "own_nets.py").write_text((folder / "own_nets.py").read_text() + "\n# more\n" * 200)
    ran = sweep(folder, "facets_of_own_code.yaml")
    assert ran.returncode == 0, ran.stdout[-1500:] + ran.stderr[-1500:]
    report = next((folder / "out").rglob("report.html"))
    assert not [file.name for file in (folder / "out").rglob("*") if "import" in file.name or len(file.name) > 120]
    visible = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", report.read_text(encoding="utf-8"), flags=re.S)
    assert "import torch" not in visible
