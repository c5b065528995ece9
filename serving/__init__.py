"""The HTTP service: loads servables and answers for them. It reads a few rooms of `pnol_jax` and none of training."""
