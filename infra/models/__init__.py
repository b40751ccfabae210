"""Models as files and tensors: read one at a time, quantised and back. Imports torch, so only workers and ranks may import it."""
