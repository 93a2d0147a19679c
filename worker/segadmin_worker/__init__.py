"""The Celery side: the client that sends step messages, workers, the scheduler, and the services of one machine."""
