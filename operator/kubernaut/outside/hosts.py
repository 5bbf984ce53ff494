"""Where HTTP requests of steps may go. Pure.

Who writes a Workflow has the operator send a request from where the operator stands: what is to be reached from there
alone (this machine, a cloud's metadata, the API server) is no place for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, Self

Address = IPv4Address | IPv6Address
_ENTRY: Final = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>(?:\*\.)?[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
# Metadata and wire servers of clouds that are not at link-local addresses.
_METADATA: Final = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_HERE: Final = frozenset(map(ip_address, ("127.0.0.1", "::1")))


@dataclass(frozen=True, slots=True)
class Host:
    """One entry: a name, a domain with all its names (``*.example.com``), or an address; port 0 is any."""

    name: str
    port: int

    @property
    def address(self) -> Address | None:
        """The address that it is, if it is one."""
        try:
            return ip_address(self.name)
        except ValueError:
            return None

    def names(self, host: str, port: int) -> bool:
        """Whether it speaks of a host as a URL names it."""
        if self.port not in (0, port):
            return False
        if self.name.startswith("*."):
            return host.endswith(self.name[1:])
        return self.name == host

    def opens(self, address: Address, port: int) -> bool:
        """Whether it names this very address, so that it may be reached though it is one of those refused."""
        if self.port not in (0, port):
            return False
        return self.address == address or (self.name == "localhost" and address in _HERE)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where requests may go; without entries anywhere but where no step has business."""

    entries: tuple[Host, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a list that is separated by commas.

        Raises:
            ValueError: an entry is none; says which.
        """
        return cls(tuple(_entry(part.strip()) for part in text.split(",") if part.strip()))

    def refusal(self, host: str, port: int) -> str | None:
        """Return why a host must not be asked, as far as its name says, or None."""
        if not self.entries or any(entry.names(host, port) for entry in self.entries):
            return None
        return f"{host}:{port} is not among the hosts that the operator's settings allow"

    def address_refusal(
        self, address: Address, port: int, api_server: frozenset[tuple[Address, int]]
    ) -> str | None:
        """Return why an address must not be connected to, or None.

        An entry that names a host does not open it: who answers for the name would choose where it leads.
        """
        if any(entry.opens(address, port) for entry in self.entries):
            return None
        for one in _all_of(address):
            if what := _what(one):
                return f"{address} is {what}"
            if (one, port) in api_server:
                return f"{address}:{port} is the API server"
        return None


def _what(address: Address) -> str | None:
    if address.is_loopback or address.is_unspecified:
        return "the operator's own machine"
    if address.is_link_local or address in _METADATA:
        return "link-local or a cloud's metadata"
    if address.is_multicast or (isinstance(address, IPv4Address) and address.is_reserved):
        return "no address of one host"
    return None


def _all_of(address: Address) -> Iterator[Address]:
    """Yield an address and those that are written in it."""
    yield address
    if isinstance(address, IPv6Address):
        inner = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        yield from (one for one in inner if one is not None)
        if address in _NAT64 or int(address) >> 32 == 0:
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def _entry(text: str) -> Host:
    found = _ENTRY.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    if found is None or port > 65535:
        raise ValueError(
            f"{text!r} is not a host; write NAME, *.DOMAIN or an address, with :PORT where wanted"
        )
    if found["v6"]:
        return Host(str(ip_address(found["v6"])), port)
    return Host(found["name"].lower(), port)
