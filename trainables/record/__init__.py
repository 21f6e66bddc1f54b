"""The record of a trial: event log, checkpoint and files, brought to the object store and to MLflow."""
