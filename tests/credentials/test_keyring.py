"""Private keys at rest: what opens, what does not, and where the ring comes from."""

import base64
import json
import secrets
import stat
from pathlib import Path

import pytest
from joserfc.jwk import OctKey, OKPKey

from credentials import keys
from credentials.keyring import (
    DEVELOPMENT_FILES,
    PURPOSES,
    Keyring,
    KeyringError,
    KeyringSettings,
    Purpose,
    SealError,
    open_keyring,
    variable,
)

KEY_ID = "did:key:z6MkExample#z6MkExample"


def kek(raw: bytes | None = None) -> str:
    return base64.urlsafe_b64encode(raw or secrets.token_bytes(32)).decode()


@pytest.fixture
def ring() -> Keyring:
    return Keyring.parse(f"k2:{kek()},k1:{kek()}")


@pytest.fixture
def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def header(sealed: str) -> dict[str, str]:
    part = sealed.split(".", maxsplit=1)[0]
    loaded: dict[str, str] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return loaded


def test_a_sealed_key_opens_and_is_the_same(ring: Keyring, key: OKPKey) -> None:
    sealed = ring.seal(key, KEY_ID)
    opened = ring.unseal(sealed, KEY_ID)
    assert opened.as_dict(private=True) == key.as_dict(private=True) | {"kid": KEY_ID}
    head = header(sealed)
    assert {name: head[name] for name in ("alg", "enc", "kid", "cty")} == {
        "alg": "A256GCMKW",
        "enc": "A256GCM",
        "kid": "issuer/k2",
        "cty": "jwk+json",
    }
    assert str(key.as_dict(private=True)["d"]) not in sealed


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_every_type_of_key(ring: Keyring, kind: keys.KeyType) -> None:
    key = keys.generate(kind)
    sealed = ring.seal(key, KEY_ID)
    opened = ring.unseal(sealed, KEY_ID)
    assert opened.as_dict(private=True) == key.as_dict(private=True) | {"kid": KEY_ID}
    assert keys.public_jwk(opened) == keys.public_jwk(key)
    assert str(key.as_dict(private=True)["d"]) not in sealed


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_a_seal_is_renewed_and_keeps_its_name(kind: keys.KeyType) -> None:
    old, new = f"k1:{kek()}", f"k2:{kek()}"
    key = keys.generate(kind)
    sealed = Keyring.parse(old).seal(key, KEY_ID)
    renewed = Keyring.parse(f"{new} {old}").reseal(sealed)
    assert renewed is not None
    assert header(renewed) | {"iv": "", "tag": ""} == header(sealed) | {
        "kid": "issuer/k2",
        "iv": "",
        "tag": "",
    }
    alone = Keyring.parse(new)
    opened = alone.unseal(renewed, KEY_ID).as_dict(private=True)
    assert opened == key.as_dict(private=True) | {"kid": KEY_ID}
    with pytest.raises(SealError):
        alone.unseal(renewed, KEY_ID + "x")
    assert alone.reseal(renewed) is None


def test_a_text_is_renewed_too() -> None:
    old, new = f"k1:{kek()}", f"k2:{kek()}"
    sealed = Keyring.parse(old).seal_text("secret", "name")
    renewed = Keyring.parse(f"{new} {old}").reseal(sealed)
    assert renewed is not None
    assert Keyring.parse(new).unseal_text(renewed, "name") == "secret"


def test_what_cannot_be_opened_is_not_renewed(ring: Keyring, key: OKPKey) -> None:
    with pytest.raises(SealError) as caught:
        ring.reseal(Keyring.parse(f"gone:{kek()}").seal(key, KEY_ID))
    assert caught.value.code == "kek_unknown"
    for sealed in ("", "x", "a.b.c.d.e", Keyring.parse(f"k1:{kek()}").seal(key, KEY_ID)):
        with pytest.raises(SealError):
            ring.reseal(sealed)


def test_a_sealed_thing_that_is_no_key_of_ours_does_not_open(ring: Keyring) -> None:
    other: OctKey = OctKey.generate_key(256)
    sealed = ring.seal(other, KEY_ID)  # type: ignore[arg-type]
    with pytest.raises(SealError) as caught:
        ring.unseal(sealed, KEY_ID)
    assert caught.value.code == "key_unreadable"


def test_a_key_opens_only_under_its_own_name(ring: Keyring, key: OKPKey) -> None:
    with pytest.raises(SealError, match="belongs to another") as caught:
        ring.unseal(ring.seal(key, KEY_ID), "did:key:z6MkOther#z6MkOther")
    assert caught.value.code == "key_unreadable"


def test_an_older_kek_still_opens(key: OKPKey) -> None:
    old, new = f"k1:{kek()}", f"k2:{kek()}"
    sealed = Keyring.parse(old).seal(key, KEY_ID)
    assert Keyring.parse(f"{new} {old}").unseal(sealed, KEY_ID).kid == KEY_ID


def test_a_missing_kek_is_named(ring: Keyring, key: OKPKey) -> None:
    sealed = Keyring.parse(f"retired-2024:{kek()}").seal(key, KEY_ID)
    with pytest.raises(SealError, match="retired-2024") as caught:
        ring.unseal(sealed, KEY_ID)
    assert caught.value.code == "kek_unknown"


def test_a_wrong_kek_of_the_same_name_does_not_open(key: OKPKey) -> None:
    sealed = Keyring.parse(f"k1:{kek()}").seal(key, KEY_ID)
    with pytest.raises(SealError) as caught:
        Keyring.parse(f"k1:{kek()}").unseal(sealed, KEY_ID)
    assert caught.value.code == "key_unreadable"


def test_a_change_anywhere_is_found(ring: Keyring, key: OKPKey) -> None:
    sealed = ring.seal(key, KEY_ID)
    for position in range(0, len(sealed), 3):
        other = "A" if sealed[position] != "A" else "B"
        changed = sealed[:position] + other + sealed[position + 1 :]
        if _same_bytes(changed, sealed):
            continue
        with pytest.raises(SealError):
            ring.unseal(changed, KEY_ID)


def _same_bytes(one: str, other: str) -> bool:
    """The last character of a part may hold bits that carry no data."""

    def parts(token: str) -> list[bytes]:
        return [base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)) for p in token.split(".")]

    try:
        return parts(one) == parts(other)
    except ValueError:
        return False


@pytest.mark.parametrize(
    "sealed",
    ["", "x", "....", "a.b.c.d.e", '{"d":"x"}', "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0....", "é"],
)
def test_what_is_no_seal_at_all(ring: Keyring, sealed: str) -> None:
    with pytest.raises(SealError):
        ring.unseal(sealed, KEY_ID)


def test_secrets_do_not_show(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = kek()
    monkeypatch.setenv("CREDSTREAM_KEKS", f"k1:{secret}")
    shown = repr(KeyringSettings()) + repr(ring) + str(vars(Keyring.parse(f"k1:{secret}")))
    assert secret.rstrip("=") not in shown


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "k1", "k1:", ":AAAA", "k1:short", "k1:" + "A" * 44, "k 1:KEK", "k1:KEK,",
        "k1:KEK k1:KEK", "k1:" + "!" * 43, "a" * 65 + ":KEK",
    ],
)  # fmt: skip
def test_a_malformed_ring_is_refused_without_repeating_it(text: str) -> None:
    text = text.replace("KEK", kek())
    with pytest.raises(KeyringError) as caught:
        Keyring.parse(text)
    for pair in text.replace(",", " ").split():
        assert len(pair) < 12 or pair.partition(":")[2] not in str(caught.value)


def test_production_needs_a_ring(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="CREDSTREAM_KEKS"):
        open_keyring(KeyringSettings(), tmp_path, production=True)
    assert list(tmp_path.iterdir()) == []


def test_development_without_a_place_needs_one_too() -> None:
    with pytest.raises(KeyringError, match="DATA_DIR"):
        open_keyring(KeyringSettings(), None, production=False)


def test_development_makes_a_ring_once(tmp_path: Path, key: OKPKey) -> None:
    data_dir = tmp_path / "data"
    sealed = open_keyring(KeyringSettings(), data_dir, production=False).seal(key, KEY_ID)
    file = data_dir / DEVELOPMENT_FILES["issuer"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in data_dir.iterdir()] == [DEVELOPMENT_FILES["issuer"]]
    again = open_keyring(KeyringSettings(), data_dir, production=False)
    assert again.unseal(sealed, KEY_ID).kid == KEY_ID


def test_a_ring_from_the_environment_or_a_file(
    tmp_path: Path, key: OKPKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"k1:{kek()}\n"
    file = tmp_path / "keks"
    file.write_text(text)
    sealed = Keyring.parse(text).seal(key, KEY_ID)
    with monkeypatch.context() as patch:
        patch.setenv("CREDSTREAM_KEKS_FILE", str(file))
        ring = open_keyring(KeyringSettings(), None, production=True)
        assert ring.unseal(sealed, KEY_ID).kid == KEY_ID
        patch.setenv("CREDSTREAM_KEKS_FILE", str(tmp_path / "none"))
        with pytest.raises(KeyringError, match="cannot be read"):
            open_keyring(KeyringSettings(), None, production=True)
        patch.setenv("CREDSTREAM_KEKS", text)
        ring = open_keyring(KeyringSettings(), None, production=True)
        assert ring.unseal(sealed, KEY_ID).kid == KEY_ID


def test_a_seal_opens_under_no_ring_of_another_purpose() -> None:
    """Though the ids and even the keys are the same: the purpose is in the protected header."""
    text = f"k1:{kek()}"
    rings = {purpose: Keyring.parse(text, purpose) for purpose in PURPOSES}
    for purpose, ring in rings.items():
        sealed = ring.seal_text("secret", "name")
        for other, foreign in rings.items():
            if other == purpose:
                assert foreign.unseal_text(sealed, "name") == "secret"
                continue
            with pytest.raises(SealError, match=f"'{purpose}/k1'") as caught:
                foreign.unseal_text(sealed, "name")
            assert caught.value.code == "kek_unknown"


@pytest.mark.parametrize("purpose", PURPOSES)
def test_each_purpose_has_settings_and_a_development_file_of_its_own(
    purpose: Purpose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for one in PURPOSES:
        monkeypatch.setenv(variable(one), f"{one}1:{kek()}")
    assert open_keyring(KeyringSettings(), None, production=True, purpose=purpose).names == {
        f"{purpose}/{purpose}1"
    }
    monkeypatch.delenv(variable(purpose))
    with pytest.raises(KeyringError, match=f"set {variable(purpose)} or"):
        open_keyring(KeyringSettings(), tmp_path, production=True, purpose=purpose)
    made = open_keyring(KeyringSettings(), tmp_path, production=False, purpose=purpose)
    assert made.names == {f"{purpose}/dev-1"}
    assert [one.name for one in tmp_path.iterdir()] == [DEVELOPMENT_FILES[purpose]]
