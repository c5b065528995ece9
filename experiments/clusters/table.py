"""The clusters by name."""

from experiments.clusters import kubernetes, local, mpi, pbs, slurm
from experiments.clusters.interface import Cluster

CLUSTERS: dict[str, Cluster] = {
    "local": local,
    "slurm": slurm,
    "pbs": pbs,
    "mpi": mpi,
    "kubernetes": kubernetes,
}
