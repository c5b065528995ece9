"""Search over configs: an Optuna study in a folder, its trials trained one by one or as lanes of one program."""
