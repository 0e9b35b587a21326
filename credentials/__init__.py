"""Credentials without queues: DIDs, keys at rest, and the signing of credentials."""
