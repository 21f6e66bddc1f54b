"""Record of a trial: event log, checkpoint and files, copied to the object store and to MLflow."""
