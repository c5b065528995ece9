"""The page that documents the config is the one that its schema makes."""

from pathlib import Path

from experiments.reference import page, sections
from pnol_jax.config import ExperimentConfig
from pnol_jax.operators.table import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_that_of_the_schema() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m experiments.reference > docs/configuration.md"


def test_every_section_stands_once_with_every_key_and_what_the_source_says_of_it() -> None:
    made = page()
    headings = [line for line in made.splitlines() if line.startswith("## ")]
    assert len(set(headings)) == len(headings)
    for _, struct in sections(ExperimentConfig, ""):
        assert all(f"| `{name}` |" in made for name in struct.__struct_fields__)
    assert all(f'`[operator]` with `name = "{name}"`' in made for name in OPERATORS)
    assert "| `thinning` | number | `0.0` | largest share of an axis' points left out of a batch, at random |" in made
    assert made.count("| `padding` | number | `1.25` | period of a padded basis, in lengths of the axis |") == len(
        OPERATORS
    )
