"""Stage: scores before and after → verdict."""
