"""Many processes and many devices as one computer: process start-up, meshes, partitioning."""
