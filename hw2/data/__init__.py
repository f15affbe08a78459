"""Data sets as NumPy arrays, batches of them, and augmentation."""
