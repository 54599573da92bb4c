//! Which pages in a browser may read our answers, in the headers that Prometheus sends.

use axum::http::{HeaderMap, HeaderValue, header};
use regex::Regex;
use std::sync::Arc;

/// The origins that are allowed.
#[derive(Debug, Clone)]
pub struct AllowedOrigins {
    /// `None` allows all.
    pattern: Option<Arc<Regex>>,
}

impl AllowedOrigins {
    /// Allows the origins that `pattern` matches as a whole; `.*` allows all.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        let pattern = match pattern {
            ".*" => None,
            _ => Some(Arc::new(Regex::new(&format!("^(?:{pattern})$"))?)),
        };
        Ok(Self { pattern })
    }

    /// Adds the headers to an answer for a page of `origin`.
    pub(super) fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        let fixed = [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let allowed = match &self.pattern {
            None => HeaderValue::from_static("*"),
            Some(pattern) if origin.to_str().is_ok_and(|origin| pattern.is_match(origin)) => origin.clone(),
            Some(_) => return,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pattern: &str, origin: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        AllowedOrigins::new(pattern).unwrap().add_headers(Some(&HeaderValue::from_static(origin)), &mut headers);
        assert_eq!(headers[header::VARY], "Origin");
        let value = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_origins_that_match_as_a_whole_are_allowed() {
        assert_eq!(allowed(".*", "https://a.example"), Some("*".into()));
        let pattern = r"https?://(a|b)\.example";
        assert_eq!(allowed(pattern, "https://a.example"), Some("https://a.example".into()));
        assert_eq!(allowed(pattern, "https://a.example.evil"), None);
    }

    #[test]
    fn requests_of_programs_get_no_headers_but_vary() {
        let mut headers = HeaderMap::new();
        AllowedOrigins::new(".*").unwrap().add_headers(None, &mut headers);
        assert_eq!(headers.len(), 1);
    }
}
