"""What a mesh may be, and what it may divide."""

import pytest

from pnol_jax.collectives import EVERY
from pnol_jax.config import MeshConfig
from pnol_jax.errors import InputError
from pnol_jax.sharding.mesh import check_batch, check_members, check_processes, sizes
from pnol_jax.sharding.partition import partition

ONE = dict.fromkeys(EVERY, 1)


def test_the_data_axis_takes_what_the_others_leave() -> None:
    assert sizes(MeshConfig(space=2), 8) == ONE | {"space": 2, "data": 4}
    assert sizes(MeshConfig(member=4, data=2), 8) == ONE | {"member": 4, "data": 2}


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (
            MeshConfig(space=3),
            "mesh: member = 1 times fsdp = 1 times space = 3 times model = 1 devices do not divide the 8",
        ),
        (MeshConfig(data=2, fsdp=2), "fsdp = 2 times space = 1 times model = 1 devices, expected 8"),
    ],
)
def test_a_mesh_that_the_devices_cannot_be_is_refused(mesh: MeshConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sizes(mesh, 8)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match=r"training.batch_size: got 50, expected a multiple of 4"):
        check_batch(50, ONE | {"data": 2, "fsdp": 2}, 1)


def test_processes_are_refused_what_no_number_of_devices_of_each_could_share() -> None:
    check_processes(MeshConfig(), 48, 4, processes=4)
    check_processes(MeshConfig(data=4, space=2), 48, 1, processes=4)  # of two devices
    with pytest.raises(InputError, match=r"mesh: .* data = 4 .* space = 2 .* devices, expected 4"):
        check_processes(MeshConfig(data=4, space=2), 48, 1, processes=4, devices=1)
    with pytest.raises(InputError, match=r"training.batch_size: got 50, expected a multiple of 4"):
        check_processes(MeshConfig(), 50, 1, processes=4)
    check_processes(MeshConfig(space=2), 50, 1, processes=4)  # four processes of one device are two parts of the batch


def test_members_that_there_are_not_are_not_divided() -> None:
    check_members(4, ONE | {"member": 2})
    for members in (None, 3):
        with pytest.raises(InputError, match=r"mesh.member: got 2, expected a divisor of the posterior's"):
            check_members(members, ONE | {"member": 2})


def test_rules_that_want_one_mesh_axis_twice_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"blocks.0.kernel: dimensions 'in' and 'width' are both divided by .* 'model'"
    ):
        partition("blocks.0.kernel", (8, 8), ("in", "width"), ONE)


def test_a_dimension_that_its_axis_does_not_divide_is_named_with_what_would() -> None:
    message = (
        r"kernel: dimension 1 \('out'\) has 6 entries, which mesh.fsdp = 4 does not divide; .* one of \[1, 2, 3, 6\]"
    )
    with pytest.raises(InputError, match=message):
        partition("kernel", (8, 6), ("in", "out"), ONE | {"fsdp": 4})
