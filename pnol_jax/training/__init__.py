"""Training: one readable loop around one compiled step."""
