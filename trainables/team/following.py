"""What a worker other than the first does: train and test as it is told, from what it is given."""

from __future__ import annotations

from search_spaces import Trial
from trainables.bench import Bench, bench
from trainables.place import Place
from trainables.ready import images_of, make_ready
from trainables.team.team import Team
from trainables.training import StoppedError, TrainingError


def follow(place: Place, team: Team) -> None:
    """Take part until the first worker needs no others, or is gone. Write nothing but the decoded dataset."""
    device = make_ready(place)
    on: Bench | None = None
    for order in team.orders(device):
        # The weights come with every order: no file of pretrained ones is needed here.
        trial = Trial.model_validate_json(order["trial"]).model_copy(update={"pretrained": ""})
        if on is None or on.trial != trial:
            on = bench(trial, images_of(trial, place), device, place.save_seconds, team=team)
        on.model.load_state_dict(order["model"])
        try:
            on.train(
                order["masks"],
                state=order["state"],
                save=lambda state: None,
                until=order["until"],
                dynamics=on.dynamics() if order["changing"] else None,
                compact=order["compact"],
            )
        except (StoppedError, TrainingError):  # as all workers, at the same place
            continue
