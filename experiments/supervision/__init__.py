"""Many processes kept running as one job: what to do next, where they are started, what is heard of them."""
