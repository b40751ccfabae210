"""Stage: base and adapter → one model, with a parity certificate."""
