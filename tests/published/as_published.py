"""The table of docs/reproduce.md: presets × fields, as the recipes have it. Run it to have the text anew."""

from __future__ import annotations

from orchestrator.report.published_recipes import Recipe, RecipeDifference, recipes
from search_spaces.phases import STRONG

COLUMNS = {
    "training": ("epochs", "batch_size", "optimizer", "momentum", "nesterov", "weight_decay", "learning_rate",
                 "warmup_epochs", "label_smoothing", "precision", "validation"),
    "images": ("augment", "normalisation", *STRONG),
    "network": ("architecture", "parameters", "outputs", "init"),
    "grid": ("dataset", "compression", "kappa", "seeds"),
    "pruning": (),  # all else
}  # fmt: skip
SAME = "as published"


def table() -> str:
    """Write the table, and every difference with its reason below it."""
    presets = {preset: recipe for recipe in recipes() for preset in recipe.presets}
    lines = [row("preset", *COLUMNS), row(*["---"] * (1 + len(COLUMNS)))]
    lines += [row(f"`{preset}`", *cells(presets[preset])) for preset in sorted(presets)]
    lines += ["", row("program", "field", "theirs", "ours", "why"), row(*["---"] * 5)]
    said = [(recipe.program, one) for _, recipe in sorted(presets.items()) for one in recipe.known]
    return "\n".join(lines + [told(program, one) for program, one in dict.fromkeys(said)])


def cells(recipe: Recipe) -> list[str]:
    """The names of the fields that differ, column by column."""
    names = dict.fromkeys(one.field for one in recipe.known)
    column = {name: head for head, fields in COLUMNS.items() for name in fields}
    found = {head: [name for name in names if column.get(name, "pruning") == head] for head in COLUMNS}
    return [", ".join(found[head]) or SAME for head in COLUMNS]


def told(program: str, one: RecipeDifference) -> str:
    """One difference as a row."""
    return row(program.partition(" (")[0], one.field, one.theirs, one.ours, one.why)


def row(*words: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(words)} |"


if __name__ == "__main__":
    print(table())  # noqa: T201
