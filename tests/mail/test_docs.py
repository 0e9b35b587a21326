"""docs/email.md names every setting, template, code and member of a job."""

import re
from pathlib import Path

from consumers.mail.settings import MailSettings
from consumers.mail.templates import load_templates
from schemas.queues.emails import Email

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "email.md").read_text()
WORDS = set(re.findall(r"`([A-Za-z_-]+)`", PAGE))


def test_settings() -> None:
    assert {name.upper() for name in MailSettings.model_fields} <= WORDS


def test_members_of_a_job() -> None:
    assert {field.alias or name for name, field in Email.model_fields.items()} <= WORDS


def test_templates_and_what_they_take() -> None:
    for name, template in load_templates(None).items():
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}`")]
        takes, may_take = (set(re.findall(r"`(\w+)`", cell)) for cell in row.split("|")[2:4])
        assert takes == set(template.schema["required"])
        assert takes | may_take == set(template.schema["properties"])


def test_codes_of_failed_jobs() -> None:
    """Every literal code that the sources give a Reject, or a delivery that is given up."""
    sources = [*(ROOT / "consumers" / "mail").glob("*.py"), ROOT / "consumers/processors/emails.py"]
    text = "\n".join(path.read_text() for path in sources)
    codes = set(re.findall(r'code="([a-z0-9_]+)"', text))
    codes |= set(re.findall(r'Meaning\.PERMANENT,\s*"([a-z0-9_]+)"', text))
    assert len(codes) > 8
    assert codes <= {word.strip("`") for word in re.findall(r"`[a-z0-9_]+`", PAGE)}
