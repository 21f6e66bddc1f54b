"""What a plan knows of the images before a trial reads them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from orchestrator.planning.plan import plan
from orchestrator.sweep import main
from search_spaces import SpaceError, load
from trainables.datasets import lookup


def write_pets(root, train=12):
    draw = np.random.default_rng(0)
    for part, n in (("train", train), ("val", 4)):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{i}.png")
    return root


def space(*overrides):
    return load("digits", ["architecture=mlp", "pruner=snip", "compression=2", "batch_size=4", *overrides])


def test_a_folder_is_known_by_its_path_its_images_and_its_name(tmp_path, monkeypatch):
    root = write_pets(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    made = plan(space("dataset=[digits, 'folder:pets']"), cache=tmp_path / "cache")
    assert [cell.dataset for cell in made.cells] == ["digits", "pets"]
    digits, pets = made.trials
    assert (digits.data_digest, pets.data_digest) == ("", lookup(f"folder:{root}").digest)
    assert pets.dataset == f"folder:{root}"
    assert pets.name == "mlp pets snip 2x s0"
    assert made.notices == (f"dataset: folder:{root}: 24 + 8 images of 2 classes, 8x8",)
    (again,) = plan(space(f"dataset=folder:{tmp_path}/./pets/"), cache=tmp_path / "cache").trials
    assert again.fingerprint == pets.fingerprint
    Image.new("RGB", (8, 8)).save(root / "val" / "dog" / "new.png")
    (other,) = plan(space("dataset=folder:pets"), cache=tmp_path / "cache").trials
    assert other.fingerprint != pets.fingerprint
    assert not (tmp_path / "cache").exists()


def test_folders_of_one_name_are_told_apart(tmp_path):
    roots = [write_pets(tmp_path / where / "pets") for where in ("here", "there")]
    made = plan(space(f"dataset=[{', '.join(f'folder:{root}' for root in roots)}]"), cache=tmp_path)
    assert [cell.dataset for cell in made.cells] == ["here/pets", "there/pets"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["validation=0.001"], "validation: 0.001 is not allowed; a class of 'digits' has 139 training images"),
        (["validation=0.5", "batch_size=1000"], "batch_size: 1000 is not allowed; digits has no more than 719"),
        (
            ["validation=0.5", "samples_per_class=70"],
            "samples_per_class: 70 is not allowed; digits has no more than 69",
        ),
        (["dataset=folders"], "dataset: 'folders' is not known"),
    ],
)
def test_refusals(tmp_path, overrides, message):
    with pytest.raises(ValueError) as caught:
        plan(space(*overrides), cache=tmp_path)
    assert message in str(caught.value)


def test_pruners_that_score_without_data_ask_for_no_images(tmp_path):
    root = write_pets(tmp_path / "pets", train=3)
    with pytest.raises(SpaceError, match=r"samples_per_class: 10 is not allowed; folder:.*pets has no more than 3"):
        plan(space(f"dataset=folder:{root}"), cache=tmp_path / "cache")
    assert plan(space(f"dataset=folder:{root}", "pruner=magnitude", "compression=[1, 2]"), cache=tmp_path).trials


@pytest.mark.slow
def test_a_sweep_on_a_folder_with_images_held_out(tmp_path, capsys):
    root = write_pets(tmp_path / "pets")
    settings = [f"dataset=folder:{root}", "validation=0.25", "samples_per_class=5", "epochs=1", "compression=[1, 2]"]
    asked = ["digits", "--local", "--output", str(tmp_path / "results")]
    for setting in ("architecture=mlp", "pruner=[snip, synflow]", "batch_size=4", *settings):
        asked += ["--set", setting]
    assert main(asked) == 0
    assert "pets" in (tmp_path / "results" / "report" / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    (root / "train" / "dog" / "0.png").write_bytes(b"torn")
    assert main(asked) == 2
    shown = capsys.readouterr().err
    assert "train/dog/0.png is not a whole image" in shown
    assert len(shown.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["one class", "not finite"])
def test_a_dry_run_refuses_images_that_would_be_lost(tmp_path, capsys, kind):
    root = write_pets(tmp_path / "pets")
    if kind == "one class":
        for part in ("train", "val"):
            shutil.rmtree(root / part / "dog")
    else:
        Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(root / "val" / "dog" / "x.tif")
    expected = {"one class": "pets/train has one class, 'cat'", "not finite": "val/dog/x.tif of mode F has pixels that"}
    asked = ["digits", "--dry-run", "--output", str(tmp_path / "results"), "--set", f"dataset=folder:{root}"]
    assert main(asked) == 2
    shown = capsys.readouterr().err
    assert expected[kind] in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists()
