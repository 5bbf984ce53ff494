"""Addresses of clusters: inside their own block, apart from each other and from what the host knows."""

import json
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest

from localcluster.errors import ClusterError
from localcluster.network import Block, free_block, parse_networks


def test_the_first_free_block_is_taken_when_the_host_uses_none() -> None:
    assert free_block([IPv4Network("192.168.0.0/16"), IPv4Network("172.17.0.0/16")]) == Block(0)


def test_a_default_route_takes_nothing_away() -> None:
    assert free_block([IPv4Network("0.0.0.0/0")]) == Block(0)


@pytest.mark.parametrize("taken", ["10.200.0.0/30", "10.200.7.0/24", "10.200.0.0/16", "10.200.255.255/32"])
def test_a_block_is_skipped_when_any_part_of_it_is_in_use(taken: str) -> None:
    assert free_block([IPv4Network(taken)]) == Block(1)


def test_blocks_between_used_ones_are_found() -> None:
    taken = [Block(0).all, Block(1).all, Block(3).all]
    assert free_block(taken) == Block(2)


def test_no_free_block_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match="take old clusters down"):
        free_block([IPv4Network("10.0.0.0/8")])


def test_parts_of_a_block_lie_in_it_and_do_not_overlap() -> None:
    for block in (Block(0), Block(55)):
        parts = [block.link, block.services, block.pods]
        assert all(part.subnet_of(block.all) for part in parts)
        assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
        assert block.node_pods.subnet_of(block.pods)
        assert block.kwok_pods.subnet_of(block.pods)
        assert not block.node_pods.overlaps(block.kwok_pods)
        assert IPv4Address(block.host) in block.link
        assert IPv4Address(block.node) in block.link
        assert block.host != block.node


def test_blocks_stay_in_private_addresses_and_apart() -> None:
    blocks = [Block(index).all for index in range(56)]
    assert all(block.is_private for block in blocks)
    assert len(set(blocks)) == 56
    assert str(blocks[-1]) == "10.255.0.0/16"


def test_interface_names_fit_into_the_kernel_s_fifteen_characters() -> None:
    assert len(Block(55).interface) <= 15


def test_networks_of_the_host_are_read_from_routes_and_addresses() -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1"},
        {"dst": "10.200.0.0/16", "dev": "tun0"},
        {"dst": "10.201.3.4", "dev": "tun0"},
        {"dst": "fd00::/64", "dev": "eth0"},
        {"dst": "224.0.0.0/4", "dev": "eth0"},
    ]
    addresses = [
        {
            "ifname": "eth0",
            "addr_info": [
                {"family": "inet", "local": "10.202.0.9", "prefixlen": 24},
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
            ],
        }
    ]
    found = parse_networks(json.dumps(routes), json.dumps(addresses))
    assert found == [IPv4Network("10.200.0.0/16"), IPv4Network("10.201.3.4/32"), IPv4Network("10.202.0.0/24")]
    assert free_block(found) == Block(3)
