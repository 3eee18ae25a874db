"""Which addresses count as public."""

import pytest

from web.fetching.addresses import is_public

PUBLIC = ["8.8.8.8", "93.184.215.14", "1.1.1.1", "2606:4700::6810:84e5", "2a00:1450:4001::5e"]
NOT_PUBLIC = [
    # this host, private networks, link-local
    "0.0.0.0", "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1",
    "fc00::1", "fd00:ec2::254",
    # shared by customers of a carrier, protocols, documentation, benchmarks, reserved
    "100.64.0.1", "100.100.100.200", "192.0.0.8", "192.0.0.192", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "2001:db8::1", "3fff::1",
    "5f00::1", "100::1",
    # multicast
    "224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1",
    # IPv4 inside IPv6, whatever it is
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
    "2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:20::1",
    "192.88.99.1",
    # a cloud's own services at an address that looks public
    "168.63.129.16",
    # no address at all
    "", "localhost", "1.2.3", "0x7f000001", "2130706433",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_leads_elsewhere_is_not(address: str) -> None:
    assert not is_public(address)
