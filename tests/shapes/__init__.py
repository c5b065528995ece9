"""Docstrings are held to what they say: arrays that a public function takes or gives have a shape that it states."""
