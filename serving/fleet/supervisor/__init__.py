"""One loop that observes, decides and acts; it holds no traffic, and its successor takes over what runs."""
