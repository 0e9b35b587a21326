"""What a worker process can be told, read once from the environment and frozen."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    queues: str = ""
    """Queues to serve, separated by commas; empty means every queue that has a processor."""
    queue_concurrency: int = Field(default=5, ge=1, le=10_000)
    """Jobs at once, per queue and process."""
    processors: str = ""
    """Python files, folders or modules with processors beside those installed; commas between."""
    drain_timeout_s: float = Field(default=25, ge=0)
    """How long running jobs may take after SIGTERM before they are given to other workers."""
    probe_host: str = "127.0.0.1"
    probe_port: int = Field(default=0, ge=0, le=65_535)
    """Port of /livez, /readyz and /metrics; 0 serves none."""
    data_dir: Path | None = None
    app_env: str = "development"
    """`production` refuses to make up what an operator must provide, such as a key ring."""

    @property
    def production(self) -> bool:
        return self.app_env == "production"

    @property
    def wanted(self) -> list[str]:
        return [name.strip() for name in self.queues.split(",") if name.strip()]
