"""`credstream settings`: the settings in force, and where each comes from."""

import importlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
import orjson

from credstream.environment import source_of

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

SETTINGS = (
    "streams.settings:RedisSettings",
    "gateway.settings:GatewaySettings",
    "gateway.oidc:OidcSettings",
    "gateway.metrics:MetricsSettings",
    "gateway.dashboard.login_settings:LoginSettings",
    "consumers.settings:WorkerSettings",
    "consumers.mail.settings:MailSettings",
    "consumers.delivery.settings:DeliverySettings",
    "consumers.destinations:DestinationSettings",
    "consumers.status_lists:StatusSettings",
    "credentials.settings:CredentialSettings",
    "credentials.keyring:KeyringSettings",
    "credentials.webhook_secrets:WebhookSecretSettings",
    "outbound.settings:OutboundSettings",
    "outbound.settings:OidcOutboundSettings",
    "credstream.telemetry:TelemetrySettings",
)
HIDDEN = ("own",)
"""Fields that follow from other settings."""
SECRET = "(secret)"  # noqa: S105 - what is shown in its place


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable as it is in force."""

    name: str
    value: str
    source: str
    """`environment`, `file` (.env) or `default`."""


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that have their default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def settings(everything: bool, as_json: bool) -> None:
    """Print the settings in force and where each comes from; secrets are not shown.

    Exit codes: 0 printed, 2 a setting is not valid.
    """
    found = {one.name: one for place in SETTINGS for one in _read(place)}
    shown = [one for _, one in sorted(found.items()) if everything or one.source != "default"]
    if as_json:
        click.echo(orjson.dumps([asdict(one) for one in shown], option=orjson.OPT_INDENT_2))
        return
    if not shown:
        click.echo("Every setting has its default: --all lists them.", err=True)
        return
    from credstream.tables import print_table, settings_table

    print_table(settings_table(asdict(one) for one in shown))


def _read(place: str) -> Iterator[Setting]:
    module, _, name = place.partition(":")
    kind: type[BaseSettings] = getattr(importlib.import_module(module), name)
    read = kind()
    for field, about in kind.model_fields.items():
        if field not in HIDDEN:
            alias = about.validation_alias
            variable = alias if isinstance(alias, str) else variable_of(kind, field)
            yield Setting(variable, _shown(getattr(read, field)), source_of(variable))


def variable_of(kind: "type[BaseSettings]", field: str) -> str:
    """The environment variable of a field."""
    return f"{kind.model_config.get('env_prefix', '')}{field}".upper()


def _shown(value: Any) -> str:
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return SECRET if value else ""
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
