"""Stage: weights and prepared data → adapter or tuned weights, on DeepSpeed ZeRO through torchrun."""
