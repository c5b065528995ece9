"""Which process this is, from the environments that real launchers leave (recorded, shortened), and from wrong ones."""

import pytest

from pnol_jax.errors import InputError
from pnol_jax.sharding.places import Place, find_place, share_of_devices

OPEN_MPI_5 = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "prterun-gpu-node-7-7620@1",
    "PMIX_SERVER_URI41": "prterun-gpu-node-7-7620@0.0;tcp4://127.0.0.1:58671",
    "PRTE_LAUNCHED": "1",
}
OPEN_MPI_4 = {
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1,10.108.0.1:34911",
}
SLURM = {
    "SLURM_JOB_ID": "812",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "node[003-005,009]",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2", "PNOL_NODES": "4", "PNOL_COORDINATOR": "train-workers-0-0.train:8476"}
OURS = {
    "PNOL_PROCESS": "1",
    "PNOL_PROCESSES": "2",
    "PNOL_LOCAL_PROCESS": "1",
    "PNOL_LOCAL_PROCESSES": "2",
    "PNOL_COORDINATOR": "127.0.0.1:4711",
}


def test_nothing_in_the_environment_is_one_process() -> None:
    assert find_place({"HOME": "/"}) == Place(0, 1, 0, 1, "alone", "")


def test_our_own_launcher_goes_before_the_cluster_that_it_runs_in() -> None:
    assert find_place(SLURM | OPEN_MPI_5 | OURS) == Place(1, 2, 1, 2, "launch", "127.0.0.1:4711")


def test_open_mpi_5_meets_at_the_host_of_mpirun() -> None:
    place = find_place(OPEN_MPI_5)
    assert (place.index, place.count, place.local_index, place.local_count, place.found) == (1, 2, 1, 2, "openmpi")
    assert place.coordinator.rpartition(":")[0] == "gpu-node-7"


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        (OPEN_MPI_4["OMPI_MCA_orte_hnp_uri"], "10.96.0.1"),
        ("1314521088.0;tcp6://[fe80::b9b:ac5d:9cf0:b858,2620:10d::2]:43370", "[fe80::b9b:ac5d:9cf0:b858]"),
    ],
)
def test_open_mpi_4_meets_at_the_first_address_of_mpirun(uri: str, host: str) -> None:
    assert find_place(OPEN_MPI_4 | {"OMPI_MCA_orte_hnp_uri": uri}).coordinator.rpartition(":")[0] == host


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node[003-005,009]", "node003"),
        ("a1,b[2-3]", "a1"),
        ("gpu7", "gpu7"),
        ("c[01,03]-ib", "c01-ib"),
        ("n[7],m", "n7"),
    ],
)
def test_slurm_tasks_meet_at_the_first_node_of_the_step(nodes: str, first: str) -> None:
    place = find_place(SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert place.coordinator.rpartition(":")[0] == first
    assert (place.index, place.count, place.local_index, place.found) == (3, 7, 1, "slurm")


def test_slurm_says_how_many_tasks_each_node_has() -> None:
    assert [find_place(SLURM | {"SLURM_NODEID": str(node)}).local_count for node in range(4)] == [2, 2, 2, 1]


def test_a_batch_script_outside_of_a_step_does_not_wait_for_tasks_that_do_not_exist() -> None:
    script = {"SLURM_JOB_ID": "812", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    assert find_place(script).count == 1


@pytest.mark.parametrize("environment", [SLURM, OPEN_MPI_4, OPEN_MPI_5])
def test_all_processes_of_a_job_find_the_same_address_and_another_job_another_port(environment: dict[str, str]) -> None:
    index = "SLURM_PROCID" if environment is SLURM else "OMPI_COMM_WORLD_RANK"
    first, second = (find_place(environment | {index: rank}).coordinator for rank in "01")
    assert first == second
    assert 61440 <= int(first.rpartition(":")[2]) < 65536
    again = {"SLURM_STEP_ID": "1", "PMIX_NAMESPACE": "prterun-gpu-node-7-7621@1"}
    again["OMPI_MCA_orte_hnp_uri"] = environment.get("OMPI_MCA_orte_hnp_uri", "").replace("1531576320", "1531580416")
    if environment is OPEN_MPI_5:
        del again["OMPI_MCA_orte_hnp_uri"]
    assert find_place(environment | again).coordinator != first


def test_a_given_coordinator_goes_before_the_derived_one() -> None:
    for environment in (SLURM, OPEN_MPI_4, OPEN_MPI_5):
        assert find_place(environment | {"PNOL_COORDINATOR": "head:99"}).coordinator == "head:99"
        assert find_place(environment | {"JAX_COORDINATOR_ADDRESS": "head:98"}).coordinator == "head:98"


def test_pods_of_an_indexed_job_are_one_job_only_if_the_manifest_says_so() -> None:
    assert find_place(KUBERNETES) == Place(2, 4, 0, 1, "kubernetes", "train-workers-0-0.train:8476")
    assert find_place({"JOB_COMPLETION_INDEX": "2"}).count == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (OURS | {"PNOL_PROCESS": "one"}, "PNOL_PROCESS: got 'one', expected a whole number"),
        (OURS | {"PNOL_PROCESS": "2"}, "got index 2 of 2, expected 0 <= index < count"),
        ({"PNOL_PROCESS": "0"}, "PNOL_PROCESSES: got ''"),
        (OURS | {"PNOL_COORDINATOR": "nowhere"}, "got coordinator 'nowhere' for 2 processes, expected host:port"),
        ({k: v for k, v in OPEN_MPI_5.items() if k != "PMIX_NAMESPACE"}, "got coordinator '' for 2 processes"),
    ],
)
def test_a_wrong_environment_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_place(environment)


def test_the_processes_of_a_host_share_its_devices_without_overlap() -> None:
    places = [Place(i, 4, i, 4, "launch", "a:1") for i in range(4)]
    shares = [share_of_devices(8, place) for place in places]
    assert [device for share in shares for device in share or []] == list(range(8))
    assert share_of_devices(8, Place()) is None  # one process drives them all
    assert share_of_devices(1, places[1]) is None  # each process sees its own already
