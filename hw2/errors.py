"""Exceptions whose messages are for the user: each says what happened and what to do next."""


class EntryError(ValueError):
    """An entry or a name of the table of experiments cannot be run; the message names what may stand there."""


class DataError(Exception):
    """A data set or a file of weights is missing or damaged."""


class ResultsError(Exception):
    """Results cannot be read, are damaged, or belong to another run."""


class TrainingError(Exception):
    """Training cannot continue."""


class ModelError(Exception):
    """A model cannot be used."""


class ImageError(Exception):
    """An image is not accepted; the message is for the person who uploaded it."""
