"""The Celery side: doorbell, workers, scheduler and the parts that run on one machine."""
