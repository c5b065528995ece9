"""One replica: how it starts, lives and is asked; and the book of all that run."""
