"""The whole stack on one machine: S3 store, Prefect, MLflow and a worker as processes on loopback."""
