"""Stage: one model under one pinned lm-eval spec → scores and samples."""
