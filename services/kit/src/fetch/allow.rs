//! What may be fetched: entries, and which addresses are public.
//!
//! Owns the list of address classes. Refuses an entry that would allow every host.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use url::Url;

use crate::error::{Error, INVALID_FIELD, Result};

/// One entry: `host`, `*.host`, or `scheme://host:port`, then any networks its addresses may lie in besides public ones.
///
/// Without a scheme it is https on port 443. A host that is an address is permitted as such: `http://127.0.0.1:8080`. A name that
/// leads inside names its network: `https://git.corp.example 10.1.0.0/16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    scheme: String,
    host: String,
    port: u16,
    networks: Vec<(IpAddr, u8)>,
}

impl FromStr for Allow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(&INVALID_FIELD, format!("`{text}` does not allow anything"))
                .violation("allow", "must be host, *.host or scheme://host:port, then networks such as 10.0.0.0/8")
        };
        let mut words = text.split_whitespace();
        let origin = words.next().ok_or_else(wrong)?;
        let full = if origin.contains("://") { origin.to_owned() } else { format!("https://{origin}") };
        let url = Url::parse(&full).map_err(|_| wrong())?;
        let (host, port) = (url.host_str().ok_or_else(wrong)?, url.port_or_known_default().ok_or_else(wrong)?);
        let plain = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        let stars = host.matches('*').count();
        let below = host.strip_prefix("*.").is_some_and(|rest| rest.contains('.'));
        if !plain || !matches!(url.scheme(), "http" | "https") || stars > usize::from(below) {
            return Err(wrong());
        }
        let mut networks = words.map(|word| network(word).ok_or_else(wrong)).collect::<Result<Vec<_>>>()?;
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            networks.push((ip, if ip.is_ipv4() { 32 } else { 128 }));
        }
        Ok(Self { scheme: url.scheme().to_owned(), host: host.to_owned(), port, networks })
    }
}

impl Allow {
    /// Whether the entry is about this name.
    pub(super) fn names(&self, host: &str) -> bool {
        match self.host.strip_prefix("*.") {
            // One label and no more.
            Some(rest) => host.split_once('.').is_some_and(|(label, tail)| !label.is_empty() && tail == rest),
            None => self.host == host,
        }
    }

    pub(super) fn covers(&self, url: &Url) -> bool {
        self.scheme == url.scheme()
            && url.port_or_known_default() == Some(self.port)
            && url.host_str().is_some_and(|host| self.names(host))
    }

    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        is_public(ip) || self.networks.iter().any(|network| lies_in(ip, *network))
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (base, bits) = text.split_once('/')?;
    let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
    (bits <= if base.is_ipv4() { 32 } else { 128 }).then_some((base, bits))
}

fn lies_in(ip: IpAddr, (base, bits): (IpAddr, u8)) -> bool {
    let (ip, base, width) = match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => (u128::from(ip.to_bits()), u128::from(base.to_bits()), 32),
        (IpAddr::V6(ip), IpAddr::V6(base)) => (ip.to_bits(), base.to_bits(), 128),
        _ => return false,
    };
    let shift = width - u32::from(bits);
    ip.checked_shr(shift).unwrap_or(0) == base.checked_shr(shift).unwrap_or(0)
}

/// IPv4 networks that are not public unicast, from IANA's registry of special purpose addresses.
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// IPv6: public unicast is 2000::/3 without these (protocol assignments and Teredo, documentation, 6to4).
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is public unicast; what embeds an IPv4 address (mapped, NAT64, 6to4) is not.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(base, bits)| lies_in(ip, (IpAddr::V4(*base), *bits))),
        IpAddr::V6(_) => {
            let global = (IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), 3);
            lies_in(ip, global) && !SPECIAL_V6.iter().any(|(base, bits)| lies_in(ip, (IpAddr::V6(*base), *bits)))
        }
    }
}
