"""MLflow: curves while a run goes on, model folders, versions and aliases."""
