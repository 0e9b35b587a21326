"""The queues the product ships: one file each, with payload, result and `SPEC`."""
