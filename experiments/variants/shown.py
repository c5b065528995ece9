"""What a variant loses, as a table for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from experiments.variants.losses import Losses


def table(losses: Losses, words: Sequence[str]) -> Table:
    """A row for every score: before, after, and the change with its interval."""
    title = f"{' '.join(words)} on {losses.name}, {losses.cases} cases"
    found = Table("", "before", "after", "change", "95%", title=title, title_justify="left")
    for name, entry in losses.changes.items():
        value, low, high = entry.change
        row = f"{entry.before:.4g}", f"{entry.after:.4g}", f"{value:+.2g}", f"{low:+.2g} to {high:+.2g}"
        found.add_row(name.replace("_", " "), *row)
    found.caption = "changes of errors and widths are relative, those of coverages differences"
    return found
