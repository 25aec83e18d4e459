"""Speech models: what runs inside a worker process."""
