"""One file per queue; each ends with `PROCESSOR`."""
