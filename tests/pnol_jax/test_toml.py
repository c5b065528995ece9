import pytest

from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.operators.table import OPERATORS
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posterior_config import DeterministicConfig, EnsembleConfig
from pnol_jax.toml import load

CONFIG = """
name = "darcy"
[data]
train = ["a.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{ kind = "bounded" }, {}]
[operator]
name = "fno"
modes = [12, 12]
[training]
steps = 3
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    return path


def test_overrides_have_the_types_of_toml(config):
    words = ["training.steps=20", "training.ema=0.5", 'operator.basis=["padded", "cosine"]', "name=other"]
    read = load(config, ExperimentConfig, words)
    assert (read.training.steps, read.training.ema, read.name) == (20, 0.5, "other")
    assert read.operator.basis == ["padded", "cosine"]


def test_a_section_without_a_name_is_of_its_default_kind(config):
    read = load(config, ExperimentConfig, ["optimizer.learning_rate=0.5", "posterior.heteroscedastic=false"])
    assert read.optimizer == AdamWConfig(learning_rate=0.5)
    assert read.posterior == DeterministicConfig(heteroscedastic=False)


def test_an_override_can_change_the_kind_of_a_section(config):
    read = load(config, ExperimentConfig, ["posterior.name=ensemble", "posterior.members=3"])
    assert read.posterior.members == 3


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.step=3", "training: unknown key 'step'; did you mean 'steps'?"),
        ("posterior.nam=ensemble", "posterior: unknown key 'nam'; did you mean 'name'?"),
        ("training.learning_rate=1", "unknown key 'learning_rate'; did you mean 'optimizer.learning_rate'?"),
        ("learning_rate=1", "top level: unknown key 'learning_rate'; did you mean 'optimizer.learning_rate'?"),
        ("operator.modes=12", "operator.modes: Expected `array`, got `int`; expected a list such as [12, 12]"),
        ("data.train=[data/a.npz, b.npz]", """got `str`; expected ["data/a.npz", "b.npz"]"""),
        ("data.axes=[{knd='x'}]", "data.axes[0]: unknown key 'knd'; did you mean 'kind'"),
        ("operator.wdth=3", "operator: unknown key 'wdth'; did you mean 'width'"),
        ("zzz.bar=1", "top level: unknown key 'zzz'; known keys: name, data"),
        ("optimizer.momentum=0.9", "optimizer: unknown key 'momentum'; known keys of 'adamw': learning_rate,"),
        ("optimizer={name='sgd', momntum=0.9}", "optimizer: unknown key 'momntum'; did you mean 'momentum'"),
        ("optimizer={name='custom', path='a:b', weight_decay=1}", "optimizer: unknown key 'weight_decay'"),
        ("optimizer.name=adam", "optimizer.name: Invalid value 'adam', expected one of ['adamw', 'lion', "),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate: Expected `float` > 0.0"),
        ("optimizer.schedule=[{name='cosin'}]", "optimizer.schedule[0].name: Invalid value 'cosin', expected one of"),
        ("optimizer.schedule=[{name='step', every=3}]", "optimizer.schedule[0]: unknown key 'every'; known keys of"),
        ("optimizer.groups=[{parameters='*', rate=-1}]", "optimizer.groups[0].rate: Expected `float` >= 0.0"),
        (
            "operator.name=fnoo",
            f"operator.name: Invalid value 'fnoo', expected one of {list(OPERATORS)}",
        ),
        ("training.steps=many", "training.steps: Expected `int`, got `str`"),
        ("training=3", "training: Expected `object`, got `int`"),
        ("training.steps.x=3", "'steps' is a value, not a section"),
        ("steps", "expected section.key=value"),
        (
            "data.axes=[{kind='round'}]",
            "data.axes[0].kind: Invalid enum value 'round', expected one of ['periodic', 'bounded']",
        ),
        ("operator.basis=['sine', 'auto']", "Invalid enum value 'sine', expected one of ['auto', 'fourier', "),
        ("training.loss=l2", "training.loss: Invalid enum value 'l2', expected one of ['relative_l2', 'h1', 'nll']"),
        ("data.train=b.npz", """data.train: Expected `array`, got `str`; expected ["b.npz"]"""),
        ("operator.basis=auto", """operator.basis: Expected `array`, got `str`; expected ["auto"]"""),
        ("risk=[{name='a', statistic='median'}]", "risk[0].statistic: Invalid enum value 'median', expected one of"),
        ("ood.false_alarms=0.1", "ood: unknown key 'false_alarms'; did you mean 'false_alarm'"),
        ("training.loss=l2", "override 'training.loss=l2': training.loss: "),
        ("data.axes=[{kind='round'}]", "override \"data.axes=[{kind='round'}]\": "),
        ("zzz.bar=1", "override 'zzz.bar=1': "),
    ],
)
def test_a_wrong_word_is_explained(config, word, message):
    with pytest.raises(InputError) as refused:
        load(config, ExperimentConfig, [word])
    assert message in str(refused.value)


def test_what_is_wrong_in_the_file_is_not_blamed_on_an_override(config):
    config.write_text(CONFIG + "stepz = 4\n")
    with pytest.raises(InputError) as refused:
        load(config, ExperimentConfig, ["training.steps=4"])
    assert str(refused.value).startswith(f"{config}: training: unknown key 'stepz'")
    config.write_text(CONFIG.replace('outputs = ["u"]', ""))
    with pytest.raises(InputError) as refused:
        load(config, ExperimentConfig, ["data.calibration=4"])
    assert str(refused.value).startswith(f"{config}: data: Object missing required field `outputs`")


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"[data]\n[data]\n"])
def test_what_is_no_toml_is_refused(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not TOML"):
        load(path, ExperimentConfig)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load(tmp_path / "nowhere.toml", ExperimentConfig)


@pytest.fixture
def overlay(tmp_path):
    def write(content: str) -> str:
        path = tmp_path / "overlay.toml"
        path.write_text(content)
        return str(path)

    return write


def test_an_overlay_is_merged_table_by_table(config, overlay):
    path = overlay("[training]\nema = 0.5\n[operator]\nmodes = [8, 8]\n[export]\nname = 'other'\n")
    read = load(config, ExperimentConfig, ["export.buckets=[[16, 16]]", path])
    assert (read.training.steps, read.training.ema) == (3, 0.5)
    assert (read.operator.modes, read.data.train) == ([8, 8], ["a.npz"])
    assert (read.export.name, read.export.buckets) == ("other", [[16, 16]])


def test_a_section_that_becomes_of_another_kind_is_replaced_whole(config, overlay):
    path = overlay("[posterior]\nname = 'ensemble'\nmembers = 3\n")
    for before in ("posterior.beta=0.5", "posterior={name='dropout', draws=9}"):  # the first is deterministic unsaid
        assert load(config, ExperimentConfig, [before, path]).posterior == EnsembleConfig(members=3)


def test_a_section_of_the_same_kind_keeps_its_other_keys(config, overlay):
    path = overlay("[posterior]\nname = 'deterministic'\nbeta = 0.5\n")
    read = load(config, ExperimentConfig, ["posterior.heteroscedastic=false", path])
    assert read.posterior == DeterministicConfig(heteroscedastic=False, beta=0.5)


def test_words_count_in_their_order(config, overlay):
    path = overlay("[training]\nsteps = 7\n")
    assert load(config, ExperimentConfig, ["training.steps=9", path]).training.steps == 7
    assert load(config, ExperimentConfig, [path, "training.steps=9"]).training.steps == 9


def test_a_wrong_key_of_an_overlay_is_named_with_its_file(config, overlay):
    path = overlay("[posterior]\nname = 'ensemble'\nmembrs = 3\n")
    with pytest.raises(InputError) as refused:
        load(config, ExperimentConfig, [path])
    assert f"{config} with {path}: posterior: unknown key 'membrs'; did you mean 'members'" in str(refused.value)


def test_an_overlay_that_is_not_there_is_named(config):
    with pytest.raises(InputError, match="no file 'nowhere"):
        load(config, ExperimentConfig, ["nowhere.toml"])
