"""Stage: verdict and model → MLflow model version, nothing copied."""
