"""Training in blocks of updates, with Lightning."""
