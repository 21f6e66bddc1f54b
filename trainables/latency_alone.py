"""Latency of a finished trial's network, measured again while nothing else runs on its device."""

from __future__ import annotations

from contextlib import suppress

from filelock import Timeout
from safetensors.torch import load_file

from pruners.errors import in_one_line
from search_spaces import Trial
from trainables.artifacts import machine
from trainables.context import Place, images_of, make_ready
from trainables.profiling import MEASURED_ALONE, compacted_or_whole, latency
from trainables.record.event_log import EventLog, Snapshot, snapshot
from trainables.record.files import held
from trainables.record.sync import Copy, InPlace, Mirror
from trainables.shared.pretraining import WEIGHTS
from trainables.shared.weights import bring
from trainables.training.trainer import make_trainer

TAG = "latency"
STEP = 1  # of the new values; those that the trial measured itself have step 0
WRITER_SECONDS = 10  # wait for the record's lock


def is_measured_alone(record: Snapshot) -> bool:
    """Return True if the record has a latency that was measured alone."""
    return record.tags.get(TAG) == MEASURED_ALONE and "model/latency_ms" in record.metrics


def measure_alone(trial: Trial, place: Place) -> str:
    """Measure the latency of a finished trial's network and add it to its record; return "" or why it was not possible.

    The caller keeps other work off the device. A record that has it already is left as it is.
    """
    folder = place.storage / trial.fingerprint
    copy: Copy = Mirror(place.mirror, folder) if place.mirror else InPlace()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / ".writer.lock", WRITER_SECONDS):
            copy.pull()
            reason = _measure(trial, place)
            copy.finish()
            return reason
    except Timeout:
        return "another process writes its record"
    except Exception as error:  # noqa: BLE001 - a user's network may raise anything, and the trial itself is done
        return in_one_line(error)


def _measure(trial: Trial, place: Place) -> str:
    folder = place.storage / trial.fingerprint
    record = snapshot(folder)
    if record.end != "finished":
        return "its record is not here"
    if is_measured_alone(record):
        return ""
    device = make_ready(place)
    bring(trial.network, place)
    data = images_of(trial, place)
    model = make_trainer(trial, data, device, place.save_seconds, weights=place.pretrained).model
    with suppress(FileNotFoundError):  # large weights are not kept; their values do not change how long a pass takes
        model.load_state_dict(load_file(folder / WEIGHTS, device=str(device)))
    masks = load_file(folder / "masks.safetensors", device=str(device))
    small, _ = compacted_or_whole(model, masks, data.input_shape)
    found = latency(model, small, data.input_shape)
    outbox = EventLog(folder)
    try:
        outbox.amend(found.metrics, {TAG: MEASURED_ALONE, "latency_machine": machine(device)}, STEP)
    finally:
        outbox.close()
    return ""
