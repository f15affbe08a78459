"""Image classification and segmentation with Keras 3, from data to dumped results."""


class DataError(Exception):
    """A data set or a file of weights that is missing or damaged; the message says what to do next."""
