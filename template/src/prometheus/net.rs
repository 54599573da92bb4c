//! Hosts, ports and the path of a URL.

use std::net::IpAddr;

/// The host of `host:port` or `[host]:port`; any other text as it is.
pub(super) fn strip_port(address: &str) -> &str {
    split(address).map_or(address, |(host, _)| host)
}

/// The first part of a host's name, with the port if there is one. IP addresses stay as they are.
pub(super) fn strip_domain(address: &str) -> String {
    let (host, port) = split(address).unwrap_or((address, ""));
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let short = host.split('.').next().unwrap_or_default();
    match (port.is_empty(), short.contains(':')) {
        (true, _) => short.to_owned(),
        (false, true) => format!("[{short}]:{port}"),
        (false, false) => format!("{short}:{port}"),
    }
}

/// Host and port by Go's rules: the port follows the last colon, and a host with colons stands in brackets.
fn split(address: &str) -> Option<(&str, &str)> {
    let (before, port) = address.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if before.contains(':') => return None,
        None => before,
    };
    (![host, port].iter().any(|part| part.contains(['[', ']']))).then_some((host, port))
}

/// The path of a URL, with its escapes decoded.
pub(super) fn url_path(url: &str) -> String {
    let without_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = without_scheme.find('/').and_then(|at| without_scheme.get(at..)).unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(high).is_some() && digit(low).is_some() => {
                let code = digit(high).unwrap_or(0) * 16 + digit(low).unwrap_or(0);
                bytes.push(code as u8);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    crate::literal::text_from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_split_off_by_the_rules_of_go() {
        let cases = [
            ("foo.example.com", "foo.example.com", "foo"),
            ("foo.example.com:12345", "foo.example.com", "foo:12345"),
            ("192.0.2.1:12345", "192.0.2.1", "192.0.2.1:12345"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("2001:0DB8::1", "2001:0DB8::1", "2001:0DB8::1"),
            ("[2001:0DB8::1]:12345", "2001:0DB8::1", "[2001:0DB8::1]:12345"),
            ("[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345"),
            ("[::1]", "[::1]", "[::1]"),
            ("host:", "host", "host"),
            (":80", "", ":80"),
            ("", "", ""),
            ("a[b:1", "a[b:1", "a[b:1"),
        ];
        for (address, without_port, without_domain) in cases {
            assert_eq!(strip_port(address), without_port, "{address}");
            assert_eq!(strip_domain(address), without_domain, "{address}");
        }
    }

    #[test]
    fn paths_of_urls_are_decoded() {
        for (url, path) in [
            ("http://testhost:9090/path/prefix", "/path/prefix"),
            ("http://testhost:9090", ""),
            ("http://testhost/", "/"),
            ("https://h/a%20b?x=/y#/z", "/a b"),
            ("http://h/%zz%4", "/%zz%4"),
        ] {
            assert_eq!(url_path(url), path, "{url}");
        }
    }
}
