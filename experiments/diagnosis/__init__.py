"""Is this place fit for a run? What each process finds, what is tried together, and what is wrong in sentences."""
