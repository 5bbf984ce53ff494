"""A cluster whose authority is renewed while the operator runs is still trusted, without a restart."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.credentials import Credentials
from kubernaut.cluster.watchsession import watch_session
from kubernaut.core.errors import Unavailable
from kubernaut.core.ports import ObjectRef
from unit.cluster.wire import Reply, Wire, credentials

POD = ObjectRef("v1", "Pod", "shop", "x")


def authority(directory: Path, name: str) -> Path:
    """Make a certificate for 127.0.0.1 that has signed itself, with its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = directory / f"{name}.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, *plain))
    return path


class Cluster:
    """A server with a certificate, and the file that says whom to trust.

    Attributes:
        looks: how many times that file was read.
    """

    def __init__(self, directory: Path) -> None:
        self.old, self.new = authority(directory, "old"), authority(directory, "new")
        self.trusted = [self.old]
        self.wire = Wire(lambda _: Reply(200, {"metadata": {"name": "x"}}))
        self.looks, self.now = 0, 0.0

    def credentials(self) -> Credentials:
        tls = ssl.create_default_context(cadata="".join(path.read_text() for path in self.trusted))
        return replace(credentials(self.wire.host), tls=tls)

    async def reload(self) -> Credentials:
        self.looks += 1
        return self.credentials()

    @asynccontextmanager
    async def serving(self, certificate: Path) -> AsyncIterator[ApiConnection]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server = await asyncio.start_server(self.wire.serve, "127.0.0.1", 0, ssl=tls)
        self.wire.host = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with ApiConnection(
            self.credentials(), reload=self.reload, monotonic=lambda: self.now
        ) as connection:
            yield connection
        server.close()
        await self.wire.close()
        await server.wait_closed()


async def test_a_certificate_of_a_new_authority_is_trusted_once_the_file_names_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with cluster.serving(cluster.new) as connection:
        cluster.trusted.append(cluster.new)
        assert (await connection.own().get(POD))["metadata"]["name"] == "x"
        assert cluster.looks == 1


async def test_one_that_nobody_names_is_refused_and_the_file_is_not_read_each_time(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with cluster.serving(cluster.new) as connection:
        for _ in range(3):
            with pytest.raises(Unavailable, match="no connection"):
                await connection.own().get(POD)
        assert (cluster.looks, len(cluster.wire.requests)) == (1, 0)
        cluster.now += 5
        cluster.trusted.append(cluster.new)
        await connection.own().get(POD)


async def test_watches_of_kopf_trust_it_too(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with cluster.serving(cluster.new) as connection, watch_session(connection, ()) as session:
        cluster.trusted.append(cluster.new)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(cluster.wire.host + "/apis")
        async with session.get(cluster.wire.host + "/apis") as response:
            assert response.status == 200
