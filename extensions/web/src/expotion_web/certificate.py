"""A certificate for this machine, made here at first start: from elsewhere, browsers give no camera over http."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from expotion.errors import ExpotionError, Problem
from expotion.files import replacing, write_text

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

VALID_DAYS = 397
"""More is refused by some browsers."""
NAMES = ("certificate.pem", "key.pem")


def given_certificate(path: Path) -> tuple[Path, Path]:
    """A certificate and its key from one PEM file, or from `NAME.pem` beside `NAME.key`. Raises ExpotionError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExpotionError(Problem(f"--cert {path}", "a PEM file", str(error))) from None
    beside = path.with_suffix(".key")
    key = path if "PRIVATE KEY" in text else beside
    if "BEGIN CERTIFICATE" not in text or not key.is_file():
        got = "no certificate in it" if "BEGIN CERTIFICATE" not in text else f"no key in it, and no {beside}"
        raise ExpotionError(Problem(f"--cert {path}", "a certificate with its key, in PEM", got))
    return path, key


def own_certificate(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """A self-signed certificate for names and addresses, kept in a folder.

    It is made anew where it nears its end or the names change. The key can be read by this user alone.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    files = folder / NAMES[0], folder / NAMES[1]
    wanted = {_general(name) for name in names}
    now = datetime.now(UTC)
    if all(file.is_file() for file in files):
        with contextlib.suppress(ValueError, x509.ExtensionNotFound):
            there = x509.load_pem_x509_certificate(files[0].read_bytes())
            said = there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if wanted <= {*said} and there.not_valid_after_utc - now > timedelta(days=7):
                return files
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "expotion on this machine")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(sorted(wanted, key=str)), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with (
        replacing(files[1]) as draft,
        os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        out.write(private)
    write_text(files[0], certificate.public_bytes(pem).decode())
    return files


def _general(name: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
