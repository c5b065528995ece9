"""What variants of a servable lose and save: bfloat16, weights in int8, fewer members, on Darcy flow.

Trains the Darcy config, as one operator and as an ensemble, exports both and makes every variant by
`experiments.export --optimise`, whatever it loses. Losses are those of its manifest, on the worse of the two test sets;
times are measured here again, all programs of a model in turns, at one case and at sixteen in the largest bucket.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import LocalSide, Timings, alternate
from benchmarks.report import Figure, argument_parser, report
from experiments import export, fetch, train
from experiments.command import run
from experiments.variants.cost import BATCHES, asked, call
from pnol_jax.config import ExportConfig
from pnol_jax.memory import keep_arena
from pnol_jax.servable import Servable, load_servable

CONFIG = "experiments/configs/darcy.toml"
MEMBERS, KEPT = 4, 2
WHOLE = "as trained"
LIMIT = ExportConfig().max_loss
MODELS = {
    "one": ([], ("bfloat16", "int8")),
    "four": (
        ["posterior.name=ensemble", f"posterior.members={MEMBERS}"],
        ("bfloat16", "int8", f"members={KEPT}", f"members={KEPT} int8"),
    ),
}


def main() -> int:
    """Train what is not there, make the variants, measure."""
    parser = argument_parser(__doc__, rounds=9, burst=0.3)
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where runs are kept and found again (nowhere)")
    options = parser.parse_args()
    keep_arena()
    figures, timings = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (overrides, recipes) in MODELS.items():
            run = (options.runs or Path(folder)) / name
            if not (run / "model.safetensors").exists():
                fetch.main(["darcy"])
                train.main([CONFIG, "--run", str(run), "--no-report", *overrides])
            made = exported(run, Path(folder) / f"models-{name}", recipes)
            figures += [figure for words in recipes for figure in losses(label(name, words), made[words])]
            for batch in BATCHES:
                found = timed(made, batch, options.rounds, options.burst)
                timings[f"{name}: a batch of {batch}"] = found
                figures += [
                    Figure.of_ratio(f"{label(name, words)}_time_{batch}", found.ratio(words, WHOLE), 1.0, less=True)
                    for words in recipes
                ]
    return report(figures, options.json, timings)


def exported(run: Path, to: Path, recipes: Sequence[str]) -> dict[str, Servable]:
    """The run's servable and its variants, by the words of their recipes."""
    found = {}
    for version, words in enumerate((WHOLE, *recipes), 1):
        more = [] if words == WHOLE else ["--max-loss", "inf", "--optimise", *words.split()]
        export.main([str(run), "--to", str(to), "--name", "darcy", "--version", str(version), *more])
        found[words] = load_servable(to / "darcy" / str(version))
    return found


def label(model: str, words: str) -> str:
    """What figures of a variant begin with."""
    return "_".join([model, *words.replace("=", "").split()])


def losses(name: str, variant: Servable) -> Iterable[Figure]:
    """What its manifest says, over what the model has: scores on the worse test set, bytes, memory."""
    about = variant.manifest.optimised
    assert about is not None
    for score in ("crps", "relative_l2"):
        changes = [test["scores"][score]["change"] for test in about["tests"].values()]
        worst = max(changes, key=lambda change: change["value"])
        interval = (worst["low"] + 1, worst["high"] + 1)
        yield Figure(f"{name}_{score}", worst["value"] + 1, "ratio", 1 + LIMIT, less=True, interval=interval)
    gaps = [test["coverage_gaps"]["coverage"]["value"] for test in about["tests"].values()]
    yield Figure(f"{name}_coverage_gap", max(gaps), "share", LIMIT, less=True)
    before, after = about["cost"]["weights_bytes"]
    yield Figure(f"{name}_weights_bytes", after / before, "ratio", 1.0, less=True)
    for program in about["cost"]["programs"]:
        before, after = program["peak_bytes"]
        yield Figure(f"{name}_peak_bytes_{program['batch']}", after / before, "ratio", 1.0, less=True)


def timed(made: dict[str, Servable], batch: int, rounds: int, burst: float) -> Timings:
    """The compiled programs for mean and variances, in turns."""
    sides = []
    for words, servable in made.items():
        bucket = max(servable.manifest.buckets, key=np.prod)
        compiled = servable.executable(bucket, "moments", batch)
        sides.append(LocalSide(words, call(compiled, asked(servable, bucket, batch))))
    return alternate(sides, rounds, burst)


if __name__ == "__main__":
    run(main)
