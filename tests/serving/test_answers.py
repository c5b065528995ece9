"""Through the service: what a caller names is right, said as what it is, cached by what it is made of, or refused."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from pnol_jax.errors import InputError
from pnol_jax.servable import load_servable
from serving.abstention import Policy
from serving.answers import Answer
from serving.cache import Cache
from serving.derived import Functional, Quantiles
from serving.engine import Engine
from serving.ladder import Ladder, compile_ladder
from serving.monitoring.alarms import alarm_threshold
from serving.query import Options, Query
from serving.refusals import Abstained, Refusal
from serving.service import Service
from tests import heat
from tests.serving import exact
from tests.serving.test_cache_service import OneModel

GRID = heat.grid(13)
FIELD, SOLUTION = heat.wave(GRID, 1)
WEIGHTS = np.random.default_rng(0).normal(size=(3, 13, 1)).astype(np.float32)
Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    """With exact functionals."""
    path = exact.write(tmp_path_factory.mktemp("exact"))
    return compile_ladder(load_servable(path), {"moments": (1, 2), "functional": (1, 4)})


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(queue_cases=64, operands_bytes=2**20, utilisation_window=60.0)
    yield engine
    engine.close()


@pytest.fixture
def serve(engine: Engine) -> Callable[..., Ask]:
    """A function that asks a service of one model."""

    def make(ladder: Ladder, policy: Policy | None = None) -> Ask:
        service = Service(OneModel(ladder), engine, Cache(10**7), 8, 60.0, policy=policy)  # type: ignore[arg-type]

        def ask(field: Any = FIELD, functionals: Any = None, coordinates: Any = None, **options: Any) -> Answer:
            query = Query(Options(**options), np.asarray(field), None, coordinates, functionals)
            return asyncio.run(service.answer(query))

        return ask

    return make


def test_quantiles_and_exceedance_come_beside_what_else_was_asked(serve: Callable[..., Ask], knowing: Ladder) -> None:
    answer = serve(knowing)(outputs=("mean", "quantiles", "std"), quantiles=(0.05, 0.5), thresholds=(0.2,))
    assert list(answer.arrays) == ["mean", "quantiles", "std", "exceedance"]
    assert answer.stated["quantiles"] == Quantiles((0.05, 0.5), "gaussian")
    law = stats.norm(SOLUTION, np.sqrt(heat.NOISE**2 + (heat.SPREAD * SOLUTION) ** 2))
    np.testing.assert_allclose(answer.arrays["quantiles"], [law.ppf(0.05), law.ppf(0.5)], atol=1e-5)
    np.testing.assert_allclose(answer.arrays["exceedance"], [law.sf(0.2)], atol=1e-5)


def test_exact_functionals_of_several_cases_on_points_that_are_not_even(
    serve: Callable[..., Ask], knowing: Ladder, engine: Engine
) -> None:
    x = np.sort(np.random.default_rng(1).uniform(0, heat.LENGTH, 13))
    grid = knowing.servable.manifest.signature.grid([x])
    cases = np.stack([np.sin(heat.angular(k) * x + k) for k in (1, 2)])[..., None].astype(np.float32)
    decay = np.exp(-heat.NU_T * np.array([heat.angular(1), heat.angular(2)]) ** 2)
    answer = serve(knowing)(cases, WEIGHTS, (x,), outputs=("functional",), tail=0.9, functional_thresholds=(0, 1, -1))
    mean, std = exact.known(WEIGHTS, grid.weights(), decay[:, None, None] * cases)
    np.testing.assert_allclose(answer.arrays["functional.mean"], mean, atol=1e-5)
    np.testing.assert_allclose(answer.arrays["functional.std"], std, rtol=1e-4)
    law = stats.norm(mean, std)
    np.testing.assert_allclose(answer.arrays["functional.exceedance"], law.sf([0, 1, -1]), atol=1e-4)
    np.testing.assert_allclose(
        answer.arrays["functional.tail"], mean + std * stats.norm.pdf(stats.norm.ppf(0.9)) / 0.1, rtol=1e-4, atol=1e-5
    )
    assert answer.stated == {"functional": Functional("exact", None, 0.9, (0.0, 1.0, -1.0))}
    assert engine.statistics.cases == 6  # functionals of cases, and no moments


def test_draws_stand_in_where_there_is_no_exact_functional(serve: Callable[..., Ask], ladder: Ladder) -> None:
    grid = heat.grid(10, 11)
    field, _ = heat.wave(grid, 1, 2)
    ask = serve(ladder)
    answer = ask(field, np.ones((1, 1, 1, 1)), outputs=("samples", "functional"), seed=3, num_samples=4)
    assert answer.stated == {"functional": Functional("samples", 4)}
    whole = (answer.arrays["samples"] * grid.weights()[..., None]).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(answer.arrays["functional.mean"], [whole.mean()], rtol=1e-5)
    np.testing.assert_allclose(answer.arrays["functional.std"], [whole.std(ddof=1)], rtol=1e-4)
    again = ask(field, np.ones((1, 1, 1, 1)), outputs=("functional.mean",), seed=3, num_samples=4)
    assert again.cached  # of the same draws


def test_held_answers_give_the_same_bytes_and_other_weights_are_not_confused(
    serve: Callable[..., Ask], knowing: Ladder
) -> None:
    ask = serve(knowing)
    asked: dict[str, Any] = {"quantiles": (0.1, 0.9), "thresholds": (0.0,), "tail": 0.8}
    first, second = ask(FIELD, WEIGHTS, **asked), ask(FIELD, WEIGHTS, **asked)
    assert (first.cached, second.cached) == (False, True)
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes()
    other = ask(FIELD, -WEIGHTS, outputs=("functional",))
    assert not other.cached
    np.testing.assert_allclose(other.arrays["functional.mean"], -first.arrays["functional.mean"], atol=1e-6)
    levels = ask(FIELD, quantiles=(0.2, 0.8))
    assert levels.cached  # of the same moments
    assert levels.arrays["quantiles"].tobytes() != first.arrays["quantiles"].tobytes()


def test_an_ordinary_answer_computes_and_says_nothing_of_it(
    serve: Callable[..., Ask], knowing: Ladder, engine: Engine
) -> None:
    answer = serve(knowing)()
    assert (list(answer.arrays), answer.stated, engine.statistics.cases) == (["mean", "std"], {}, 1)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "levels that fall": ({"quantiles": (0.9, 0.1)}, r"quantiles: got \[0.9, 0.1\], expected them increasing"),
    "an infinite threshold": ({"thresholds": (float("inf"),)}, "thresholds: got .* expected finite numbers"),
    "an output without levels": (
        {"outputs": ("quantiles",)},
        r"\['quantiles'\], expected what they are to be made",
    ),
    "functionals without weights": ({"outputs": ("functional",)}, "expected what they are to be made of: quantiles"),
    "a tail of nothing": ({"tail": 0.9}, "functionals: got tail .* without weights"),
    "weights of other points": (
        {"functionals": WEIGHTS[:, :12]},
        r"\[3, 12, 1\], expected \(functionals, 13, 1\)",
    ),
    "weights of no functional": ({"functionals": WEIGHTS[:0]}, r"functionals: got weights of shape \[0, 13, 1\]"),
    "weights that are no numbers": ({"functionals": WEIGHTS * np.nan}, "weights that are not finite"),
    "too many functionals": ({"functionals": np.ones((65, 1, 1))}, "functionals: got 65, expected at most 64"),
    "too many for the queue": ({"functionals": np.ones((9, 1, 1))}, "got 9, 9 for each of 1 cases, expected at most 8"),
    "thresholds of others": (
        {"functionals": WEIGHTS, "functional_thresholds": (0.0,)},
        "functional_thresholds: got 1, expected 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused_with_its_reason(serve: Callable[..., Ask], knowing: Ladder, case: str) -> None:
    options, message = REFUSED[case]
    with pytest.raises(Refusal, match=message):
        serve(knowing)(**options)


def test_too_few_draws_and_models_that_know_nothing_are_refused(
    serve: Callable[..., Ask], ladder: Ladder, tmp_path: Path
) -> None:
    field, ones = heat.wave(heat.grid(10, 11), 1, 2)[0], np.ones((1, 1, 1, 1))
    with pytest.raises(Refusal, match="num_samples: got 1, expected at least 2 draws for a deviation"):
        serve(ladder)(field, ones, num_samples=1)
    with pytest.raises(Refusal, match=r"num_samples: got 6, expected at least 10 draws for a tail at 0.9"):
        serve(ladder)(field, ones, tail=0.9)
    with pytest.raises(Refusal, match="num_samples: got 2000, expected at most 48 for 1 cases"):
        serve(ladder)(field, ones, num_samples=2000)
    plain = load_servable(heat.write(tmp_path, axes=1, signature=heat.signature(1, ["moments"])))
    with pytest.raises(Refusal, match=r"by 'heat kernel', from whose variances .* by 'laplace', or one that draws"):
        serve(compile_ladder(plain, {"moments": (1,)}))(FIELD, WEIGHTS)


def test_a_program_of_functionals_and_the_signature_go_together(tmp_path: Path) -> None:
    for changes in ({"functional": exact.functional}, {"signature": heat.signature(1, ["moments", "functional"])}):
        with pytest.raises(InputError, match="expected one if and only if the signature's answers"):
            heat.write(tmp_path, axes=1, **changes)


ENERGY = float((SOLUTION[:, 0] ** 2).sum() * heat.LENGTH / 13)  # the figure "ood" of the heat equation


@pytest.mark.parametrize(
    ("policy", "options", "outcome"),
    [
        (Policy(), {}, "none"),
        (Policy("mark"), {}, "mark"),
        (Policy("refuse"), {}, "refuse"),
        (Policy("refuse", 2 * ENERGY), {}, "none"),
        (Policy("mark", 2 * ENERGY), {"abstain": "refuse", "abstain_from": ENERGY / 2}, "refuse"),
        (Policy("refuse", ENERGY / 2), {"abstain": "mark", "abstain_from": 2 * ENERGY}, "refuse"),  # never less
        (Policy("mark", ENERGY / 2), {"abstain": "refuse", "abstain_from": 2 * ENERGY}, "mark"),
        (Policy(), {"abstain": "mark"}, "mark"),
        (Policy(), {"abstain_from": ENERGY / 2}, "refuse"),
    ],
)
def test_abstaining_by_policy_and_by_request(
    serve: Callable[..., Ask], knowing: Ladder, policy: Policy, options: dict[str, Any], outcome: str
) -> None:
    ask, cases = serve(knowing, policy), np.stack([FIELD, 0 * FIELD, FIELD])
    plain = serve(knowing)(cases, outputs=("std",))
    policy.counts.clear()
    if outcome == "refuse":
        with pytest.raises(Abstained, match=r"ood up to .* in 2 of 3 cases, expected less than") as caught:
            ask(cases, outputs=("std",), **options)
        said = caught.value.abstention
    else:
        answer = ask(cases, outputs=("std",), **options)
        assert answer.arrays["std"].tobytes() == plain.arrays["std"].tobytes()
        said = answer.stated.get("abstention")
    assert policy.counts == ({} if outcome == "none" else {("exact", "1", outcome): 1})
    if outcome != "none":
        assert said.cases == (0, 2)
        np.testing.assert_allclose(said.scores, [ENERGY, 0, ENERGY], rtol=1e-4)


def test_abstaining_is_refused_where_there_is_nothing_to_abstain_by(
    serve: Callable[..., Ask], ladder: Ladder, tmp_path: Path
) -> None:
    field = heat.wave(heat.grid(10, 11), 1, 2)[0]
    with pytest.raises(Refusal, match="states no alarm; expected abstain_from"):
        serve(ladder)(field, abstain="mark")
    assert serve(ladder, Policy("refuse"))(field).stated == {}  # a policy goes for models that can
    signature = msgspec.structs.replace(heat.signature(1, ["moments"]), figures=())

    def blind(*arguments: Any, **keywords: Any) -> Any:
        return dataclasses.replace(heat.predict(*arguments, **keywords), figures=None)

    path = heat.write(tmp_path, axes=1, signature=signature, predict=blind)
    with pytest.raises(Refusal, match=r"has no figure 'ood'; expected a model that was trained with a section \[ood\]"):
        serve(compile_ladder(load_servable(path), {"moments": (1,)}))(FIELD, abstain="mark")


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.25])
def test_the_largest_figure_that_a_detector_gives_is_an_alarm(rate: float) -> None:
    cases = round(1 / rate) - 1  # the fewest that a rate can be stated by
    largest = np.float32(cases) / np.float32(cases + 1)
    threshold = alarm_threshold({"false_alarm": rate, "cases": cases})
    assert threshold is not None
    assert largest >= threshold
    assert alarm_threshold(None) is None
