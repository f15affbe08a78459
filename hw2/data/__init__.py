"""Data sets as NumPy arrays, their splits and batches, augmentation, corruptions, and thumbnails for the report."""
