"""Shares of traffic are kept, keys stick to their version, and the file that says so is read and changed whole."""

import resource
from pathlib import Path

import numpy as np
import pytest

from pnol_jax.errors import InputError
from serving.query import Options, Query
from serving.refusals import NotFound, Refusal
from serving.releases.memory import Asked, Memory
from serving.releases.split import choose, key_of, place
from serving.repository.labels import read_labels, set_label
from tests import heat

FIELD, _ = heat.wave(heat.grid(12), 1)
KEYS = [b"%d" % number for number in range(5000)]


def test_shares_are_kept_and_a_change_moves_only_the_keys_at_the_boundary() -> None:
    places = [place(key, "heat", "split") for key in KEYS]
    before = [choose({"stable": 0.9, "canary": 0.1}, where) for where in places]
    after = [choose({"stable": 0.8, "canary": 0.2}, where) for where in places]
    allowed = 4 * np.sqrt(0.1 * 0.9 / len(KEYS))  # four deviations of a share
    assert before.count("canary") / len(KEYS) == pytest.approx(0.1, abs=allowed)
    assert {(old, new) for old, new in zip(before, after, strict=True)} == {
        ("stable", "stable"),
        ("canary", "canary"),
        ("stable", "canary"),
    }
    assert before == [choose({"stable": 0.9, "canary": 0.1}, place(key, "heat", "split")) for key in KEYS]


def test_places_of_models_and_purposes_have_nothing_to_do_with_each_other() -> None:
    places = [[place(key, *of) for key in KEYS] for of in (("a", "split"), ("b", "split"), ("a", "shadow"))]
    correlations = np.corrcoef(places)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(len(KEYS))


def test_a_key_or_the_same_field_in_any_format_is_the_same_place() -> None:
    def key(inputs: object, **options: str) -> bytes:
        return key_of(Query(Options(**options), np.asarray(inputs)))  # type: ignore[arg-type]

    assert key(FIELD) == key(FIELD.astype(np.float64)) == key(FIELD[None])
    assert key(FIELD) != key(FIELD + 1)
    assert key(FIELD, key="a") == key(FIELD + 1, key="a") != key(FIELD, key="b")


def asked(*values: float, version: str = "1") -> Asked:
    return Asked(Query(Options(), np.float32(values)), "heat", version)


def test_the_memory_of_requests_is_bounded_and_forgets_the_oldest() -> None:
    memory = Memory(requests=3, capacity_bytes=100)
    for number in range(5):
        memory.put(str(number), asked(number, number))
    for number in range(2):
        with pytest.raises(NotFound, match=f"got '{number}', expected that of one of the last 3 requests"):
            memory.recall(str(number))
    for number in range(2, 5):
        np.testing.assert_array_equal(memory.recall(str(number)).query.inputs, number)
    memory.put("large", asked(*range(24)))
    assert (len(memory), memory.bytes) == (1, 96)
    memory.put("larger", asked(*range(26)))
    assert (len(memory), memory.bytes) == (0, 0)


def test_what_is_remembered_holds_nothing_of_the_body_beside_it() -> None:
    body = np.zeros(10_000, np.float32)
    query = Query(Options(), body[:2], None, (body[2:6],))
    kept = Asked.apart(query, "heat", "1")
    assert kept.nbytes == 4 * 6
    assert kept.query.coordinates
    assert not any(np.shares_memory(body, array) for array in (kept.query.inputs, *kept.query.coordinates))
    assert kept.is_like(Asked(query, "heat", "1"))


def test_an_id_of_several_requests_is_of_none() -> None:
    memory = Memory(requests=9, capacity_bytes=100)
    memory.put("twice", asked(1, 2))
    memory.put("twice", asked(1, 2))  # the same request, sent again
    assert memory.bytes == 8
    memory.recall("twice")
    for other in (asked(1, 3), asked(1, 2), asked(1, 2, version="2")):
        memory.put("twice", other)
        with pytest.raises(Refusal, match="got 'twice', which several requests had"):
            memory.recall("twice")
    assert (len(memory), memory.bytes) == (1, 0)


TEXT = """# which version answers
stable = "3"   # since Monday
canary = '4'

[split]
stable = 0.75
canary = 0.25
[rule]
minimum = 7
"""


def test_a_label_is_moved_and_all_else_in_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "labels.toml"
    file.write_text(TEXT)
    set_label(file, "canary", "4", "3")
    assert file.read_text() == TEXT.replace("canary = '4'", 'canary = "3"')
    labels = read_labels(file)
    assert labels.versions == {"stable": "3", "canary": "3"}
    assert labels.sections.split == {"stable": 0.75, "canary": 0.25}
    assert labels.sections.rule is not None
    assert labels.sections.rule.minimum == 7
    with pytest.raises(InputError, match='expected one line canary = "4"'):
        set_label(file, "canary", "4", "2")  # somebody else moved it


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """No file can grow beyond 8 bytes meanwhile."""
    file = tmp_path / "labels.toml"
    file.write_text(TEXT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            set_label(file, "canary", "4", "3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == TEXT
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stable = "1"\n[split]\nstable = 0.5\n', "split: got shares that add up to 0.5, expected 1"),
        ('stable = "1"\n[split]\ncanary = 1.0\n', r"split: got the labels \['canary'\], expected some of \['stable'\]"),
        ('stable = "1"\n[shadow]\ncanary = 1.0\n', r"shadow: got the labels \['canary'\]"),
        ('stable = "1"\n[rule]\n', r"rule: got the labels \['canary'\]"),
        ('stable = "1"\n[shadow]\nstable = 1.5\n', "shadow"),
        ('stable = "1"\ncanary = "2"\n[rule]\nmetric = "mse"\n', "metric"),
        ('stable = "1"\ncanary = "2"\n[rule]\nlevle = 0.1\n', "did you mean 'level'"),
        ('"../x" = "1"\n', "expected letters, digits"),
        ("stable = 1\n", "unknown key 'stable'"),
        ("stable =\n", "labels.toml: "),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_reason(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "labels.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(file)
