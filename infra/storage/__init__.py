"""Artifacts in a store: written once, committed by one small record, read only through that record."""
