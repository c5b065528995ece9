"""The clusters by name."""

from experiments.clusters import kubernetes, local, mpi, slurm
from experiments.clusters.interface import Cluster

CLUSTERS: dict[str, Cluster] = {"local": local, "slurm": slurm, "mpi": mpi, "kubernetes": kubernetes}
