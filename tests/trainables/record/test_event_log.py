"""The outbox: nothing recorded is lost, nothing is recorded twice."""

from __future__ import annotations

import pytest

from trainables.record.event_log import FILE, DamagedRecordError, EventLog, ended, must_restart, read, remove_record


def events(folder):
    return [{k: v for k, v in event.items() if k != "time"} for event, _ in read(folder)]


def test_events_come_back_in_order_with_their_time(tmp_path):
    outbox = EventLog(tmp_path)
    outbox.params({"lr": "0.1"})
    outbox.metrics({"train/loss": 2.0}, step=1)
    (tmp_path / "layers.json").write_text("{}")
    outbox.artifact("layers.json")
    outbox.end("finished")
    outbox.close()
    assert events(tmp_path) == [
        {"params": {"lr": "0.1"}},
        {"metrics": {"train/loss": 2.0}, "step": 1},
        {"artifact": "layers.json", "bytes": 2},
        {"end": "finished"},
    ]
    assert all(event["time"] > 1_700_000_000_000 for event, _ in read(tmp_path))


def test_a_point_is_recorded_once_across_restarts(tmp_path):
    first = EventLog(tmp_path)
    first.metrics({"train/loss": 2.0}, step=1)
    first.close()
    second = EventLog(tmp_path)
    second.metrics({"train/loss": 2.0}, step=1)
    second.metrics({"train/loss": 1.0, "test/loss": 1.5}, step=2)
    second.metrics({"train/loss": 1.0, "test/top1": 0.5}, step=2)
    second.close()
    assert events(tmp_path) == [
        {"metrics": {"train/loss": 2.0}, "step": 1},
        {"metrics": {"train/loss": 1.0, "test/loss": 1.5}, "step": 2},
        {"metrics": {"test/top1": 0.5}, "step": 2},
    ]


def test_a_torn_line_is_not_an_event_and_is_skipped(tmp_path):
    outbox = EventLog(tmp_path)
    outbox.metrics({"a": 1.0})
    outbox.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"time": 1, "metrics": {"b"')
    assert len(events(tmp_path)) == 1
    outbox = EventLog(tmp_path)
    outbox.metrics({"b": 2.0})
    outbox.close()
    assert events(tmp_path)[1:] == [{"metrics": {"b": 2.0}, "step": 0}]


def test_what_another_node_appended_is_not_cut_off_where_it_is_not_seen(tmp_path, late):
    first = EventLog(tmp_path)
    for epoch in range(1, 5):
        first.metrics({"train/loss": 1 / epoch}, epoch)
    first.close()
    whole = (tmp_path / FILE).read_bytes()
    late.show_for_ever(tmp_path / FILE, whole.index(b"\n") + 20)  # the first event, and a part of the second
    second = EventLog(tmp_path)
    second.metrics({"test/top1": 0.5}, 4)
    second.close()
    late.show(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes().startswith(whole)
    assert [event["metrics"] for event in events(tmp_path)] == [
        *({"train/loss": 1 / epoch} for epoch in range(1, 5)),
        {"test/top1": 0.5},
    ]


def test_reading_goes_on_from_an_offset(tmp_path):
    outbox = EventLog(tmp_path)
    outbox.metrics({"a": 1.0})
    ((_, offset),) = read(tmp_path)
    outbox.metrics({"b": 1.0})
    outbox.close()
    assert [event["metrics"] for event, _ in read(tmp_path, offset)] == [{"b": 1.0}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused(tmp_path, value):
    outbox = EventLog(tmp_path)
    with pytest.raises(ValueError, match="metric train/loss is"):
        outbox.metrics({"train/loss": value}, step=3)
    outbox.close()
    assert events(tmp_path) == []


def test_a_trial_taken_up_again_has_not_ended(tmp_path):
    assert ended(tmp_path) is None
    outbox = EventLog(tmp_path)
    outbox.end("failed")
    assert ended(tmp_path) == "failed"
    outbox.params({})
    assert ended(tmp_path) is None
    outbox.end("finished")
    outbox.close()
    assert ended(tmp_path) == "finished"


def test_a_damaged_record_says_where_it_lies(tmp_path):
    (tmp_path / FILE).write_bytes(b'{"time": 1, "params": {}}\ngarbage\n')
    with pytest.raises(DamagedRecordError, match="is damaged at byte 26; remove its folder"):
        list(read(tmp_path))


@pytest.mark.parametrize("resume", [True, False])
def test_what_failed_by_itself_starts_anew_and_what_the_machine_broke_goes_on(tmp_path, resume):
    outbox = EventLog(tmp_path)
    outbox.metrics({"a": 1.0})
    outbox.end("failed", resume=resume)
    outbox.close()
    assert must_restart(tmp_path) is not resume
    (tmp_path / "masks.safetensors").write_bytes(b"")
    (tmp_path / ".writer.lock").write_bytes(b"")
    remove_record(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".writer.lock"]
