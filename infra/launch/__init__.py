"""Getting a stage's worker run somewhere, and hearing from it."""
