"""What the images need: the files of their root, their packages, a list of both, and a probe."""
