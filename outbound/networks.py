"""Which addresses are dialled: an explicit list, because the standard library's notions of
private and global miss a third of what must be refused (SS-2)."""

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
            "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "255.255.255.255/32", "::/128", "::1/128", "::/96", "::ffff:0:0:0/96",
            "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
            "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
            "ff00::/8",
        ),
    )
)  # fmt: skip
"""IANA's IPv4 and IPv6 special-purpose registries, with multicast, site-local and translated
ranges: an address there is not the public internet, or stands for one that may not be."""

METADATA: tuple[Network, ...] = tuple(
    map(
        ip_network,
        ("169.254.0.0/16", "fd00:ec2::/64", "100.100.100.200/32", "192.0.0.192/32",
         "168.63.129.16/32"),
    )
)  # fmt: skip
"""Where clouds hand out credentials: open only to an allowance of exactly that address (SS-5)."""

_BRACKETED = re.compile(r"\[(?P<net>[^\]]+)\](?::(?P<port>\d{1,5}))?")
_PLAIN = re.compile(r"(?P<net>[0-9.]+(?:/\d{1,2})?)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Allowance:
    """A network that may be dialled although the list denies it, on one port or on all."""

    network: Network
    port: int | None = None

    def covers(self, address: Address, port: int) -> bool:
        if self.port not in (None, port) or address.version != self.network.version:
            return False
        if any(address in net for net in METADATA if net.version == address.version):
            return self.network.num_addresses == 1 and address in self.network
        return address in self.network

    def __str__(self) -> str:
        if self.port is None:
            return str(self.network)
        return f"[{self.network}]:{self.port}"


def parse_allowance(text: str) -> Allowance:
    """`10.1.0.0/16`, `127.0.0.1:9000`, `fd12::/16`, `[::1]:9000`. ValueError says what is wrong."""
    match = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
    net, port = (match["net"], match["port"]) if match else (text, None)
    try:
        network = ip_network(net)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a network (as 10.1.0.0/16, 127.0.0.1:9000 or [::1]:9000): {error}"
        ) from None
    if port is not None and not 1 <= int(port) <= 65_535:
        raise ValueError(f"{text!r}: a port is 1..65535")
    return Allowance(network, None if port is None else int(port))


def address_of(host: str) -> Address:
    """The address behind a literal; an IPv4 address in IPv6's clothes is what it carries."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def denied(address: Address) -> Network | None:
    """The listed network that holds `address`, if one does."""
    nets = (*DENIED, *METADATA)
    return next((n for n in nets if n.version == address.version and address in n), None)
