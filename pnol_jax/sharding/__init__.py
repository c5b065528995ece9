"""One program on many devices: the mesh, what lies where on it, and what that costs."""
