"""`credstream health`: what a container without curl runs to know whether its process is well."""

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import click

from credstream.sentences import NobodyThere, Told, WrongUsage

TIMEOUT_S = 4.0
ANY = ("", "0.0.0.0", "::")  # noqa: S104 - recognised here, bound elsewhere


@click.command()
@click.option("--url", help="Address to ask.  [default: the process these settings describe]")
@click.option("--ready", is_flag=True, help="Ask whether Redis takes writes, too (/readyz).")
def health(url: str | None, ready: bool) -> None:
    """Ask the process of this container how it is.

    Without --url: the worker or scheduler on PROBE_HOST:PROBE_PORT where PROBE_PORT is set, else
    the gateway on HOST:PORT. Exits with 0 when it is well, 1 when it says it is not, 3 when it does
    not answer.
    """
    parts = urlsplit(url or _own_address())
    if parts.scheme != "http" or not parts.hostname:
        raise WrongUsage(f"{url!r} is not an address as http://127.0.0.1:3000.")
    path = "/readyz" if ready else "/livez"
    connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise NobodyThere(f"Nobody answers at {parts.netloc}: {error}.") from None
    finally:
        connection.close()
    if status != 200:
        raise Told(f"{path} at {parts.netloc} answered {status}.")
    click.echo(f"{path} at {parts.netloc}: well")


def _own_address() -> str:
    from consumers.settings import WorkerSettings
    from gateway.settings import GatewaySettings

    worker = WorkerSettings()
    if worker.probe_port:
        return _address(worker.probe_host, worker.probe_port)
    gateway = GatewaySettings()
    return _address(gateway.host, gateway.port)


def _address(host: str, port: int) -> str:
    name = "127.0.0.1" if host in ANY else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
