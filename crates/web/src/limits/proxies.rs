//! Which address a request came from, where trusted proxies stand before the process.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use firstcome_core::Invalid;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Where the IPv4 addresses begin among those of IPv6 (RFC 4291, section 2.5.5.2): 96 bits.
const MAPPED: u128 = 0xffff_0000_0000;
const MAPPED_BITS: u32 = 96;
/// The part of an IPv6 address that names a network; the rest is its owner's to choose.
const NETWORK_BITS: u32 = 64;

/// Who a limit counts: an IPv4 address, or a /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Address(u128);

/// Networks whose word is taken for who sent a request.
#[derive(Debug, Default)]
pub(super) struct TrustedProxies(Vec<Network>);

#[derive(Debug)]
struct Network {
    first: u128,
    bits: u32,
}

impl TrustedProxies {
    /// Reads networks as `10.0.0.0/8` or `2001:db8::/32`, and single addresses.
    ///
    /// # Errors
    /// A sentence that names the key and the one that is none.
    pub(super) fn parse(networks: &[String]) -> Result<Self, Invalid> {
        let parsed = networks.iter().map(|text| {
            Network::parse(text).ok_or_else(|| {
                Invalid::new(format!(
                    "limits.trusted_proxies has {text:?}; it must be an address or a network, as \
                     10.0.0.0/8, whose bits beyond the prefix are zero"
                ))
            })
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Who sent a request: the peer, unless it is a trusted proxy. Then the one that it names, and
    /// so on: `X-Forwarded-For` is read from its end, where each proxy adds who came to it, as far
    /// as trusted proxies have written it. What is no address ends the search, and the proxy that
    /// passed it on is counted itself.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Address {
        let mut client = bits(peer);
        if self.0.is_empty() {
            return Address::of(client);
        }
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while self.trusts(client) {
            let Some(named) = entries.next().and_then(parse_entry) else { break };
            client = bits(named);
        }
        Address::of(client)
    }

    fn trusts(&self, address: u128) -> bool {
        self.0.iter().any(|network| network.has(address))
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (before, length) = if address.is_ipv4() { (MAPPED_BITS, 32) } else { (0, 128) };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= length)?
            }
            Some(_) => return None,
            None => length,
        };
        let network = Self { first: bits(address), bits: before + prefix };
        network.first.checked_shl(network.bits).is_none_or(|rest| rest == 0).then_some(network)
    }

    fn has(&self, address: u128) -> bool {
        (address ^ self.first).checked_shr(128 - self.bits).is_none_or(|rest| rest == 0)
    }
}

impl Address {
    fn of(bits: u128) -> Self {
        if bits >> (128 - MAPPED_BITS) == MAPPED >> (128 - MAPPED_BITS) {
            Self(bits)
        } else {
            Self(bits >> NETWORK_BITS << NETWORK_BITS)
        }
    }
}

/// An address among those of IPv6; one of IPv4 and its mapped twin are the same.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// One entry: an address, as some proxies write it with a port, or in brackets.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str]) -> TrustedProxies {
        let networks: Vec<String> = networks.iter().copied().map(str::to_owned).collect();
        TrustedProxies::parse(&networks).expect("networks")
    }

    fn address(text: &str) -> Address {
        Address::of(bits(text.parse().expect("an address")))
    }

    /// Who sent a request that came from `peer` with these lines.
    #[track_caller]
    fn check(trusted: &[&str], peer: &str, lines: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.as_bytes().try_into().expect("a header value"));
        }
        let client = proxies(trusted).client(peer.parse().expect("an address"), &headers);
        assert_eq!(client, address(expected), "{trusted:?} {peer} {lines:?}");
    }

    #[test]
    fn who_is_not_trusted_names_nobody() {
        check(&[], "203.0.113.9", &["198.51.100.7"], "203.0.113.9");
        check(&[], "127.0.0.1", &["198.51.100.7"], "127.0.0.1");
        check(&["10.0.0.0/8"], "203.0.113.9", &["198.51.100.7"], "203.0.113.9");
    }

    #[test]
    fn the_rightmost_that_is_not_trusted_is_the_client() {
        let trusted = &["10.0.0.0/8", "2001:db8::/32"];
        check(trusted, "10.0.0.1", &[], "10.0.0.1");
        check(trusted, "10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check(trusted, "10.0.0.1", &["1.2.3.4, 198.51.100.7"], "198.51.100.7");
        check(trusted, "10.0.0.1", &["1.2.3.4, 198.51.100.7, 10.9.9.9"], "198.51.100.7");
        check(trusted, "10.0.0.1", &["1.2.3.4", "198.51.100.7,10.9.9.9"], "198.51.100.7");
        check(trusted, "10.0.0.1", &["198.51.100.7, 2001:db8::1"], "198.51.100.7");
        check(trusted, "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }

    #[test]
    fn what_is_no_address_counts_the_proxy_that_passed_it_on() {
        for malformed in ["", "unknown", "_hidden", "198.51.100", "198.51.100.7.", "1:2", "쿠폰"]
        {
            let line = format!("1.2.3.4, {malformed}");
            check(&["10.0.0.0/8"], "10.0.0.1", &[&line], "10.0.0.1");
            let line = format!("1.2.3.4, {malformed}, 10.0.0.2");
            check(&["10.0.0.0/8"], "10.0.0.1", &[&line], "10.0.0.2");
        }
    }

    #[test]
    fn an_address_may_have_a_port_or_brackets() {
        for entry in ["198.51.100.7:4711", "[198.51.100.7]", "::ffff:198.51.100.7", "198.51.100.7 "]
        {
            check(&["10.0.0.0/8"], "10.0.0.1", &[entry], "198.51.100.7");
        }
        for entry in ["2001:db8:1::7", "[2001:db8:1::7]", "[2001:db8:1::7]:443"] {
            check(&["10.0.0.0/8"], "10.0.0.1", &[entry], "2001:db8:1::7");
        }
    }

    #[test]
    fn ipv4_and_its_mapped_twin_are_one_and_ipv6_counts_by_64_bits() {
        assert_eq!(address("::ffff:198.51.100.7"), address("198.51.100.7"));
        assert_ne!(address("198.51.100.8"), address("198.51.100.7"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        assert_ne!(address("::1"), address("0.0.0.1"));
        check(&["10.0.0.0/8"], "::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check(&["::ffff:10.0.0.0/104"], "10.0.0.1", &["198.51.100.7"], "198.51.100.7");
    }

    #[test]
    fn networks_end_where_their_prefix_says() {
        check(&["10.1.0.0/16"], "10.1.255.255", &["1.2.3.4"], "1.2.3.4");
        check(&["10.1.0.0/16"], "10.2.0.0", &["1.2.3.4"], "10.2.0.0");
        check(&["10.1.2.3"], "10.1.2.3", &["1.2.3.4"], "1.2.3.4");
        check(&["10.1.2.3/32"], "10.1.2.4", &["1.2.3.4"], "10.1.2.4");
        check(&["0.0.0.0/0"], "203.0.113.9", &["1.2.3.4, 5.6.7.8"], "1.2.3.4");
        check(&["0.0.0.0/0"], "2001:db8::1", &["1.2.3.4"], "2001:db8::1");
        check(&["::/0"], "203.0.113.9", &["2001:db8::1"], "2001:db8::1");
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in
            ["", "x", "10.0.0.0/33", "::/129", "10.0.0.1/8", "10.0.0.0/+8", "10.0.0.0/", "/8"]
        {
            let refused = TrustedProxies::parse(&[text.to_owned()]).expect_err(text).to_string();
            assert!(refused.starts_with("limits.trusted_proxies has "), "{refused}");
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }
}
