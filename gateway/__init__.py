"""The HTTP API. Generic over queues: it knows them by name and asks the engine for the rest."""
