"""Authorities and certificates for tests of TLS."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        made = self._certificate(self._name, self._key, authority=True)
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def _certificate(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            hosts = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def signed(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate, which is good for localhost too, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        made = self._certificate(subject, key, authority=False)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret


def client(authority: Authority, shown: tuple[Path, Path] | None) -> ssl.SSLContext:
    """Return what a client needs that trusts an authority, and shows a certificate or none."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.check_hostname = False
    if shown is not None:
        context.load_cert_chain(*shown)
    return context
