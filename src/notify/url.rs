//! URLs of Alertmanagers as Prometheus writes them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What is not escaped in a path.
const PATH: &AsciiSet = &UNRESERVED
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// What is not escaped in a host.
const HOST: &AsciiSet = &UNRESERVED
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'[')
    .remove(b']')
    .remove(b'<')
    .remove(b'>')
    .remove(b'"');

/// The URL of `path` at `address`.
pub(super) fn url(scheme: &str, address: &str, path: &str) -> String {
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    let host = utf8_percent_encode(address, HOST);
    let path = utf8_percent_encode(path, PATH);
    if scheme.is_empty() { format!("//{host}{slash}{path}") } else { format!("{scheme}://{host}{slash}{path}") }
}

/// Where alerts are posted below `prefix`; empty parts, `.` and `..` are resolved.
pub(super) fn alerts_path(prefix: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(["api", "v2", "alerts"]) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The page on which a person finds the graph of `expr`.
pub(super) fn generator_url(external_url: &str, expr: &str) -> String {
    format!("{external_url}/graph?g0.expr={}&g0.tab=1", query_escape(expr))
}

/// As Go's `url.QueryEscape`: a blank is a plus sign.
fn query_escape(text: &str) -> String {
    const QUERY: &AsciiSet = &UNRESERVED.remove(b' ');
    utf8_percent_encode(text, QUERY).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_become_paths() {
        for (prefix, path) in [
            ("", "/api/v2/alerts"),
            ("/", "/api/v2/alerts"),
            ("am", "/am/api/v2/alerts"),
            ("/am/", "/am/api/v2/alerts"),
            ("//a/./b/..//c", "/a/c/api/v2/alerts"),
            ("..", "/api/v2/alerts"),
        ] {
            assert_eq!(alerts_path(prefix), path, "{prefix}");
        }
    }

    #[test]
    fn urls_are_escaped_as_in_go() {
        assert_eq!(url("http", "a:9093", "/api/v2/alerts"), "http://a:9093/api/v2/alerts");
        assert_eq!(url("https", "[::1]:1", "x"), "https://[::1]:1/x");
        assert_eq!(url("http", "a", "/a b?c#d%é!@$"), "http://a/a%20b%3Fc%23d%25%C3%A9%21@$");
        assert_eq!(url("", "a b", ""), "//a%20b");
    }

    #[test]
    fn a_graph_is_linked_as_prometheus_links_it() {
        assert_eq!(
            generator_url("http://h", r#"rate(x{a="b é"}[5m]) > 1"#),
            "http://h/graph?g0.expr=rate%28x%7Ba%3D%22b+%C3%A9%22%7D%5B5m%5D%29+%3E+1&g0.tab=1"
        );
    }
}
