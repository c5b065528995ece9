"""The one way in which the project refuses what it was handed."""


class InputError(ValueError):
    """Something a person or a program handed over is wrong.

    The message says what was got, what was expected, and where. Commands print it as one line and exit with 2;
    the service answers it with a status of the 400 family. Any other exception is a defect of ours.
    """
