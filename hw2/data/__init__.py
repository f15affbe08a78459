"""Data sets as NumPy arrays, batches of them, and augmentation."""


class DataError(Exception):
    """A data set that is missing or damaged; the message says what to do next."""
