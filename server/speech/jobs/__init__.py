"""Long texts that are spoken into files while nobody listens: jobs."""
