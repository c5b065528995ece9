"""The problems of `benchmarks.uq`: their configs, their data, and the settings in which each posterior meets them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.uq_training import SHARES
from experiments import simulate
from experiments.experiment import Experiment, open_experiment
from pnol_jax.config import ExperimentConfig
from pnol_jax.data.arrays import ABOUT
from pnol_jax.errors import InputError
from pnol_jax.toml import load

CONFIGS = Path("experiments/configs")
POSTERIORS = tuple(SHARES)
QUICK = (
    "training.steps=4",
    "optimizer.warmup_steps=1",
    "training.batch_size=6",
    "operator.width=4",
    "operator.depth=1",
    "export.num_samples=6",
    "data.calibration=20",
    "ood.false_alarm=0.2",
)
FAILURES = 0.05  # share of shifted cases that the solver may not manage
QUICK_SWAG = ("posterior.steps=20", "posterior.every=1")


@dataclass(frozen=True)
class Sizes:
    """How many cases, and of a step model how many steps ahead it is asked; none: its one step."""

    training: int
    calibration: int
    test: int
    shifted: int
    leads: tuple[int, ...] = ()

    @property
    def quick(self) -> "Sizes":
        """As few as will do to run through."""
        return Sizes(16, 20, 10, 8, tuple(range(1, 1 + len(self.leads))))


@dataclass(frozen=True)
class Problem:
    """A problem: `folder` of its data, what `experiments.simulate` is told, `words` over the config.

    Where `headless`, noise is one variance per channel in all posteriors but beta-NLL: a head on the same operator
    costs a mean that is asked for six digits its last ones.
    """

    name: str
    folder: str
    simulator: tuple[str, ...]
    points: int
    sizes: Sizes
    headless: bool = False
    quick: bool = False

    def tasks(self) -> Sequence[str]:
        """What is asked of it: the problem, or the problem so many steps ahead."""
        return [f"{self.name}_{lead}" for lead in self.sizes.leads] or [self.name]

    def data(self) -> Path:
        """The folder of its data sets."""
        return Path("data") / ("uq_quick" if self.quick else "uq") / self.folder

    def experiment(self, posterior: str, words: Sequence[str] = ()) -> Experiment:
        """With a posterior of `experiments/configs/posteriors`; the data is simulated where it is not there."""
        sizes, data = self.sizes, self.data()
        self.simulate("train", sizes.training + sizes.calibration, seed=0)
        self.simulate("test", sizes.test, seed=1)
        paths = [f"data.train=['{data / 'train'}']", f"data.test=['{data / 'test'}']"]
        return open_experiment(self.config(posterior, [*paths, *words]))

    def config(self, posterior: str, words: Sequence[str] = ()) -> ExperimentConfig:
        """The settings of a posterior on this problem, as `experiments.train` would have them with these words."""
        overlay = CONFIGS / "posteriors" / f"{posterior}.toml"
        everything = [str(overlay), *(QUICK if self.quick else ()), *words]
        if self.quick and "swag" in posterior:
            everything += QUICK_SWAG
        base = CONFIGS / "uq" / f"{self.name}.toml"
        config = load(base, ExperimentConfig, everything)
        if self.headless and posterior != "beta_nll" and hasattr(config.posterior, "heteroscedastic"):
            return load(base, ExperimentConfig, [*everything, "posterior.heteroscedastic=false"])
        return config

    def simulate(self, name: str, cases: int, seed: int, words: Sequence[str] = (), points: int | None = None) -> Path:
        """The data set of this name in the problem's folder; made, or finished, where it is not there."""
        folder = self.data() / name
        if not (folder / ABOUT).exists():
            problem, *parameters = self.simulator
            where = ["--cases", str(cases), "--points", str(points or self.points), "--seed", str(seed)]
            where += ["--allow-failures", str(FAILURES)] if words else []
            steps = ["steps=4"] if self.quick and self.sizes.leads else []
            simulate.main([problem, *where, "--out", str(folder), *_merged([*parameters, *steps, *words])])
        return folder


def _merged(words: Sequence[str]) -> list[str]:
    """Parameters as simulate takes them, each once, the last one of a name counting."""
    return list({word.partition("=")[0]: word for word in words}.values())


PROBLEMS: Mapping[str, Problem] = {
    "darcy": Problem("darcy", "darcy", ("darcy", "low=1", "high=18.6"), 32, Sizes(600, 300, 500, 200)),
    "burgers": Problem(
        "burgers",
        "burgers",
        ("burgers", "time_step=1", "steps=1", "substeps=500", "order=4", "modes=63"),
        128,
        Sizes(300, 300, 500, 200),
    ),
    "kuramoto_sivashinsky": Problem(
        "kuramoto_sivashinsky",
        "ks",
        (
            "kuramoto-sivashinsky",
            *("convection=0.5", "length=100", "time_step=2", "substeps=20", "start=rough", "sigma=1"),
            *("warm_up=20", "steps=20"),
        ),
        128,
        Sizes(400, 300, 300, 200, leads=(5, 20)),
        headless=True,
    ),
}


def chosen(names: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    """The names that were asked for, all if none.

    Raises:
        InputError: one that is not known.
    """
    for name in names:
        if name not in known:
            raise InputError(f"--{what}: got {name!r}, expected some of {', '.join(known)}")
    return list(names) or list(known)


def shrunk(problem: Problem) -> Problem:
    """The problem with so few cases that everything is run through in a minute."""
    return replace(problem, sizes=problem.sizes.quick, quick=True)
