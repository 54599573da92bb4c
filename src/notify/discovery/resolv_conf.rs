//! `/etc/resolv.conf`: which servers to ask, and for which names. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const DNS_PORT: u16 = 53;
/// More servers than the system's own resolver asks.
const SERVERS_MAX: usize = 16;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    /// Put behind names.
    search: Vec<String>,
    /// A name with at least so many dots is tried as it is first.
    dots: usize,
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: usize,
}

impl ResolvConf {
    pub(super) fn parse(text: &str) -> Self {
        let mut conf =
            Self { servers: Vec::new(), search: Vec::new(), dots: 1, timeout: Duration::from_secs(5), attempts: 2 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                Some("domain") => conf.search = words.next().map(str::to_owned).into_iter().collect(),
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        conf.servers.truncate(SERVERS_MAX);
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<usize>() else { return };
        match name {
            "ndots" => self.dots = value.min(15),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30) as u64),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The names to ask for in place of `name`, the likeliest first.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let as_it_is = format!("{name}.");
        let searched = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_matches('.')));
        let mut names: Vec<String> = searched.collect();
        if name.matches('.').count() >= self.dots {
            names.insert(0, as_it_is);
        } else {
            names.push(as_it_is);
        }
        names
    }
}

fn server(address: &str) -> Option<SocketAddr> {
    // A zone only matters for link-local addresses, which are not supported.
    let ip: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, DNS_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_options_are_read() {
        let text = "# c\nnameserver 10.0.0.1\nnameserver ::1\nnameserver x\nsearch a.b c\noptions ndots:2 timeout:3 attempts:9 rotate\n";
        let conf = ResolvConf::parse(text);
        assert_eq!(conf.servers, ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(3), 5));
        assert_eq!(conf.names("am.x"), ["am.x.a.b.", "am.x.c.", "am.x."]);
        assert_eq!(conf.names("am.x.y"), ["am.x.y.", "am.x.y.a.b.", "am.x.y.c."]);
        assert_eq!(conf.names("am."), ["am."]);
        assert_eq!(ResolvConf::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
