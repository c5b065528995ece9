"""Whether a run fits on a mesh and how long its steps would take, before there are any devices."""
