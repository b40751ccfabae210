"""Stage: a model folder or GGUF file → two pinned artifacts, tokenizer and weights."""
