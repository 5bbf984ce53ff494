"""Where HTTP requests of steps may go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from kubernaut.outside.hosts import Hosts

API = frozenset({(ip_address("10.96.0.1"), 443)})

REFUSED = [
    *("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fd00:ec2::254"),
    *("100.100.100.200", "168.63.129.16", "224.0.0.1", "ff02::1", "255.255.255.255"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1"),
]


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("hosts", ["", "*.example.com,hooks.internal"])
def test_what_only_the_operator_reaches_is_refused_whatever_names_are_listed(text: str, hosts: str) -> None:
    assert Hosts.parse(hosts).address_refusal(ip_address(text), 80, API) is not None


@pytest.mark.parametrize(
    "text", ["10.0.0.7", "192.168.1.1", "93.184.216.34", "2606:2800:220:1::1", "fd12::7"]
)
def test_other_addresses_may_be_reached(text: str) -> None:
    assert Hosts().address_refusal(ip_address(text), 80, API) is None


@pytest.mark.parametrize("text", ["10.96.0.1", "::ffff:10.96.0.1"])
def test_the_api_server_is_refused_at_its_port(text: str) -> None:
    assert "the API server" in (Hosts().address_refusal(ip_address(text), 443, API) or "")
    assert Hosts().address_refusal(ip_address(text), 80, API) is None


@pytest.mark.parametrize(
    ("hosts", "text", "port", "opened"),
    [
        ("127.0.0.1:9093", "127.0.0.1", 9093, True),
        ("127.0.0.1:9093", "127.0.0.1", 9094, False),
        ("127.0.0.1", "127.0.0.1", 1, True),
        ("localhost:80", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("10.96.0.1:443", "10.96.0.1", 443, True),
        ("169.254.169.254", "169.254.169.253", 80, False),
    ],
)
def test_such_an_address_is_opened_by_naming_it(hosts: str, text: str, port: int, opened: bool) -> None:
    assert (Hosts.parse(hosts).address_refusal(ip_address(text), port, API) is None) is opened


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("alertmanager.monitoring.svc", 9093, True),
        ("alertmanager.monitoring.svc", 9094, False),
        ("a.example.com", 443, True),
        ("a.b.example.com", 80, True),
        ("example.com", 443, False),
        ("notexample.com", 443, False),
        ("evil.com", 443, False),
    ],
)
def test_where_hosts_are_listed_no_other_is_asked(host: str, port: int, allowed: bool) -> None:
    hosts = Hosts.parse("alertmanager.monitoring.svc:9093, *.Example.com")
    assert (hosts.refusal(host, port) is None) is allowed


def test_without_a_list_any_name_may_be_looked_up() -> None:
    assert Hosts().refusal("anything.example.com", 1) is None


@pytest.mark.parametrize("text", ["http://a", "a:b", "a:99999", "a b", "*", "a.*.b", "[zz]"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|address"):
        Hosts.parse(text)
