"""Certificates of a cluster's or trio's own, and the words that make Redis use them."""

from pathlib import Path

import trustme


def authority(folder: Path) -> trustme.CA:
    """A new authority, its certificate as ca.pem in `folder`."""
    made = trustme.CA()
    made.cert_pem.write_to_path(folder / "ca.pem")
    return made


def certify(ca: trustme.CA, folder: Path, stem: str = "redis") -> tuple[Path, Path]:
    """A certificate for this machine and its key -> their files."""
    issued = ca.issue_cert("localhost", "127.0.0.1")
    cert, key = folder / f"{stem}.crt", folder / f"{stem}.key"
    issued.private_key_pem.write_to_path(key)
    cert.write_bytes(b"")
    for part in issued.cert_chain_pems:
        part.write_to_path(cert, append=True)
    return cert, key


def words(folder: Path, stem: str = "redis") -> tuple[str, ...]:
    """For a server's command line; the port is given with --tls-port."""
    return (
        *("--tls-cert-file", str(folder / f"{stem}.crt")),
        *("--tls-key-file", str(folder / f"{stem}.key")),
        *("--tls-ca-cert-file", str(folder / "ca.pem")),
        *("--tls-auth-clients", "optional", "--tls-replication", "yes"),
    )
