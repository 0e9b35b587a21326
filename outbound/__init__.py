"""Connections to places that somebody else named: guarded at the socket, bounded in bytes
and time."""
