//! How to talk HTTP to others: credentials, TLS, proxies, headers. The keys that Prometheus puts in line wherever it has a
//! client; `with_http_client!` repeats them, since flattening would let unknown keys pass.

use super::Secret;
use super::checked::Check;
use super::url::SecretUrl;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an HTTP client needs to know. Two equal ones can share a client.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpClientConfig {
    /// Who we are.
    pub credentials: Credentials,
    /// How encrypted connections are made.
    pub tls: TlsConfig,
    /// Through whom.
    pub proxy: ProxyConfig,
    /// Whether the answer may send us elsewhere.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken where the other side can.
    pub enable_http2: bool,
    /// Sent with each request.
    pub headers: BTreeMap<String, HttpHeader>,
}

/// Who we are, in one of the ways that there are to say it.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// By user and password.
    Basic(BasicAuth),
    /// By a header.
    Header(Authorization),
    /// By a token that is asked for.
    OAuth2(Box<OAuth2>),
}

/// A structure with the keys of an HTTP client in line behind its own ones, its defaults, and the client's part of it as
/// [`HttpClientConfig`].
macro_rules! with_http_client {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// User and password sent with each request.
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::section")]
            pub basic_auth: Option<$crate::config::BasicAuth>,
            /// The header `Authorization` of each request.
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::section")]
            pub authorization: Option<$crate::config::Authorization>,
            /// A token that is asked for and sent with each request.
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::section")]
            pub oauth2: Option<$crate::config::OAuth2>,
            /// The old way to say `authorization.credentials`.
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::secret")]
            pub bearer_token: Option<$crate::config::Secret>,
            /// The old way to say `authorization.credentials_file`.
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
            pub bearer_token_file: Option<std::path::PathBuf>,
            /// How encrypted connections are made.
            #[serde(
                skip_serializing_if = "crate::config::TlsConfig::is_default",
                deserialize_with = "crate::config::checked::section_or_default"
            )]
            pub tls_config: $crate::config::TlsConfig,
            /// Whether an answer may send us elsewhere.
            pub follow_redirects: bool,
            /// Whether HTTP/2 is spoken where the other side can.
            pub enable_http2: bool,
            /// Proxy for all requests, `http` or `https`.
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::url")]
            pub proxy_url: Option<$crate::config::SecretUrl>,
            /// Who is reached without the proxy: names, addresses and networks, separated by commas.
            #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::config::checked::or_default")]
            pub no_proxy: String,
            /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment count.
            pub proxy_from_environment: bool,
            /// Headers for the proxy itself.
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub proxy_connect_header: std::collections::BTreeMap<String, Vec<$crate::config::Secret>>,
            /// Headers sent with each request, by name: `values`, `secrets` and `files`.
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub http_headers: std::collections::BTreeMap<String, $crate::config::HttpHeader>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    basic_auth: None,
                    authorization: None,
                    oauth2: None,
                    bearer_token: None,
                    bearer_token_file: None,
                    tls_config: $crate::config::TlsConfig::default(),
                    follow_redirects: true,
                    enable_http2: true,
                    proxy_url: None,
                    no_proxy: String::new(),
                    proxy_from_environment: false,
                    proxy_connect_header: std::collections::BTreeMap::new(),
                    http_headers: std::collections::BTreeMap::new(),
                }
            }
        }

        impl $name {
            /// Its HTTP client.
            #[must_use]
            pub fn http_client(&self) -> $crate::config::HttpClientConfig {
                let bearer = || $crate::config::Authorization {
                    credentials: self.bearer_token.clone(),
                    credentials_file: self.bearer_token_file.clone(),
                    ..$crate::config::Authorization::default()
                };
                let old = self.bearer_token.is_some() || self.bearer_token_file.is_some();
                let credentials = match (&self.basic_auth, &self.authorization, &self.oauth2) {
                    (Some(basic), _, _) => $crate::config::Credentials::Basic(basic.clone()),
                    (_, Some(header), _) => $crate::config::Credentials::Header(header.clone()),
                    (_, _, Some(oauth2)) => $crate::config::Credentials::OAuth2(Box::new(oauth2.clone())),
                    _ if old => $crate::config::Credentials::Header(bearer()),
                    _ => $crate::config::Credentials::None,
                };
                $crate::config::HttpClientConfig {
                    credentials,
                    tls: self.tls_config.clone(),
                    proxy: $crate::config::ProxyConfig {
                        url: self.proxy_url.clone(),
                        no_proxy: self.no_proxy.clone(),
                        from_environment: self.proxy_from_environment,
                        connect_header: self.proxy_connect_header.clone(),
                    },
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    headers: self.http_headers.clone(),
                }
            }

            /// What is wrong with the keys of the client.
            fn check_http_client(&self) -> Result<(), String> {
                let bearers = [self.bearer_token.is_some(), self.bearer_token_file.is_some()];
                let count = |given: &[bool]| given.iter().filter(|given| **given).count();
                if count(&bearers) > 1 {
                    return Err("at most one of bearer_token & bearer_token_file must be configured".into());
                }
                let ways = [self.basic_auth.is_some(), self.oauth2.is_some()];
                if count(&ways) > 0 && count(&bearers) > 0 {
                    return Err("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured".into());
                }
                if self.authorization.is_some() && count(&bearers) > 0 {
                    return Err("authorization is not compatible with bearer_token & bearer_token_file".into());
                }
                if count(&ways) + usize::from(self.authorization.is_some()) > 1 {
                    return Err("at most one of basic_auth, oauth2 & authorization must be configured".into());
                }
                self.http_client().check()
            }

            /// Makes relative paths of the client's files relative to `directory`.
            fn join_http_client(&mut self, directory: &std::path::Path) {
                let basic = self.basic_auth.iter_mut().flat_map(|auth| [&mut auth.username_file, &mut auth.password_file]);
                let header = self.authorization.iter_mut().map(|auth| &mut auth.credentials_file);
                for file in basic.chain(header).chain([&mut self.bearer_token_file]).flatten() {
                    $crate::config::http_client::join(directory, file);
                }
                self.oauth2.iter_mut().for_each(|oauth2| oauth2.set_directory(directory));
                self.tls_config.set_directory(directory);
                for file in self.http_headers.values_mut().flat_map(|header| &mut header.files) {
                    $crate::config::http_client::join(directory, file);
                }
            }
        }
    };
}
pub(super) use with_http_client;

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// Who asks.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub username: String,
    /// A file that has the user.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub username_file: Option<PathBuf>,
    /// Printed as `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub password: Secret,
    /// A file that has the password; read anew for each request.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub password_file: Option<PathBuf>,
}

/// The header `Authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// The first word of the header.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rest of the header. Printed as `<secret>`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::secret")]
    pub credentials: Option<Secret>,
    /// A file that has the rest of the header; read anew for each request.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { kind: "Bearer".into(), credentials: None, credentials_file: None }
    }
}

/// OAuth 2.0, grant type `client_credentials`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth2 {
    /// Who asks for a token.
    pub client_id: String,
    /// Printed as `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub client_secret: Secret,
    /// A file that has the secret.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub client_secret_file: Option<PathBuf>,
    /// Only `client_credentials` is supported.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant_type: String,
    /// What the token is to be good for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Who gives tokens.
    pub token_url: String,
    /// Further parameters of the question.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_params: BTreeMap<String, String>,
    /// How an encrypted connection to it is made.
    #[serde(
        skip_serializing_if = "TlsConfig::is_default",
        deserialize_with = "crate::config::checked::section_or_default"
    )]
    pub tls_config: TlsConfig,
    /// Proxy for the question, `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::url")]
    pub proxy_url: Option<SecretUrl>,
    /// Who is reached without the proxy.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub no_proxy: String,
    /// Whether the proxies of the environment count.
    pub proxy_from_environment: bool,
    /// Headers for the proxy itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

impl OAuth2 {
    /// The client that asks for tokens.
    #[must_use]
    pub fn http_client(&self) -> HttpClientConfig {
        HttpClientConfig {
            credentials: Credentials::None,
            tls: self.tls_config.clone(),
            proxy: ProxyConfig {
                url: self.proxy_url.clone(),
                no_proxy: self.no_proxy.clone(),
                from_environment: self.proxy_from_environment,
                connect_header: self.proxy_connect_header.clone(),
            },
            follow_redirects: true,
            enable_http2: true,
            headers: BTreeMap::new(),
        }
    }

    pub(super) fn set_directory(&mut self, directory: &Path) {
        self.client_secret_file.iter_mut().for_each(|file| join(directory, file));
        self.tls_config.set_directory(directory);
    }
}

/// How encrypted connections are made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM of the certificates that may vouch for the other side; those of the system unless something is said.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub ca: String,
    /// A file that has them.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub ca_file: Option<PathBuf>,
    /// PEM of our own certificate.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub cert: String,
    /// A file that has it; a change of it is noticed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub cert_file: Option<PathBuf>,
    /// PEM of its key. Printed as `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub key: Secret,
    /// A file that has it; a change of it is noticed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::config::checked::file")]
    pub key_file: Option<PathBuf>,
    /// The name that the other side must prove to have; the name in its address unless something is said.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::config::checked::or_default")]
    pub server_name: String,
    /// Whether anybody may be the other side.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "crate::config::checked::or_default")]
    pub insecure_skip_verify: bool,
    /// Least version: `TLS10`, `TLS11`, `TLS12` or `TLS13`. Versions before 1.2 are never spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Greatest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// 1.0
    #[serde(rename = "TLS10")]
    Tls10,
    /// 1.1
    #[serde(rename = "TLS11")]
    Tls11,
    /// 1.2
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

impl TlsConfig {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn set_directory(&mut self, directory: &Path) {
        let files = [&mut self.ca_file, &mut self.cert_file, &mut self.key_file];
        files.into_iter().flatten().for_each(|file| join(directory, file));
    }
}

/// Through whom requests go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProxyConfig {
    /// `http` or `https`.
    pub url: Option<SecretUrl>,
    /// Exceptions, separated by commas.
    pub no_proxy: String,
    /// Whether the environment counts.
    pub from_environment: bool,
    /// Headers for the proxy itself.
    pub connect_header: BTreeMap<String, Vec<Secret>>,
}

/// Values of one header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpHeader {
    /// As they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Printed as `<secret>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Files that have values; read anew for each request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// Headers that the client or the connection sets.
const RESERVED_HEADERS: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

impl Check for BasicAuth {
    const WHAT: &'static str = "basic_auth";

    fn check(&self) -> Result<(), String> {
        if !self.username.is_empty() && self.username_file.is_some() {
            return Err("at most one of basic_auth username & username_file must be configured".into());
        }
        if !self.password.is_empty() && self.password_file.is_some() {
            return Err("at most one of basic_auth password & password_file must be configured".into());
        }
        Ok(())
    }
}

impl Check for Authorization {
    const WHAT: &'static str = "authorization";

    fn check(&self) -> Result<(), String> {
        if self.credentials.is_some() && self.credentials_file.is_some() {
            return Err("at most one of authorization credentials & credentials_file must be configured".into());
        }
        if self.kind.trim().eq_ignore_ascii_case("basic") {
            return Err("authorization type cannot be set to \"basic\", use \"basic_auth\" instead".into());
        }
        Ok(())
    }
}

impl Check for OAuth2 {
    const WHAT: &'static str = "oauth2";

    fn check(&self) -> Result<(), String> {
        if self.client_id.is_empty() {
            return Err("oauth2 client_id must be configured".into());
        }
        if Url::parse(&self.token_url).map_or(true, |url| !matches!(url.scheme(), "http" | "https")) {
            return Err("oauth2 token_url must be configured, as a URL of http or https".into());
        }
        if !self.client_secret.is_empty() && self.client_secret_file.is_some() {
            return Err("at most one of oauth2 client_secret & client_secret_file must be configured".into());
        }
        if !matches!(self.grant_type.as_str(), "" | "client_credentials") {
            return Err(format!(
                "oauth2 grant_type {:?} is not supported, only client_credentials is",
                self.grant_type
            ));
        }
        self.http_client().check()
    }
}

impl Check for TlsConfig {
    const WHAT: &'static str = "tls_config";

    fn check(&self) -> Result<(), String> {
        let (cert, key) = (!self.cert.is_empty(), !self.key.is_empty());
        for (inline, file, name) in [
            (!self.ca.is_empty(), &self.ca_file, "ca and ca_file"),
            (cert, &self.cert_file, "cert and cert_file"),
            (key, &self.key_file, "key and key_file"),
        ] {
            if inline && file.is_some() {
                return Err(format!("at most one of {name} must be configured"));
            }
        }
        match (cert || self.cert_file.is_some(), key || self.key_file.is_some()) {
            (true, false) => {
                Err("exactly one of key or key_file must be configured when a client certificate is configured".into())
            }
            (false, true) => {
                Err("exactly one of cert or cert_file must be configured when a client key is configured".into())
            }
            _ if self.server_name.parse::<std::net::IpAddr>().is_ok() => {
                Err("server_name: an address is not supported, only a name is".into())
            }
            _ if !self.ca.is_empty() && reqwest::Certificate::from_pem_bundle(self.ca.as_bytes()).is_err() => {
                Err("ca: not a certificate in PEM".into())
            }
            _ if self.max_version.is_some_and(|max| max < TlsVersion::Tls12) => {
                Err("max_version: TLS before 1.2 is not supported".into())
            }
            _ => Ok(()),
        }
    }
}

impl HttpClientConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        let ProxyConfig { url, no_proxy, from_environment, connect_header } = &self.proxy;
        if !connect_header.is_empty() && url.is_none() {
            return Err("proxy_connect_header is only supported with proxy_url".into());
        }
        if *from_environment && url.is_some() {
            return Err("if proxy_from_environment is configured, proxy_url must not be configured".into());
        }
        if *from_environment && !no_proxy.is_empty() {
            return Err("if proxy_from_environment is configured, no_proxy must not be configured".into());
        }
        if url.is_none() && !no_proxy.is_empty() {
            return Err("if no_proxy is configured, proxy_url must also be configured".into());
        }
        if let Some(SecretUrl(url)) = url.as_ref().filter(|url| !matches!(url.0.scheme(), "http" | "https")) {
            return Err(format!("proxy_url: scheme {:?} is not supported, only http and https are", url.scheme()));
        }
        if !self.tls.server_name.is_empty() && (url.is_some() || *from_environment) {
            return Err("tls_config.server_name is not supported together with a proxy".into());
        }
        for name in self.headers.keys().chain(connect_header.keys()) {
            if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(format!("{name:?} is not a valid name of a header"));
            }
        }
        let reserved = |name: &&String| RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str());
        match self.headers.keys().find(reserved) {
            Some(name) => Err(format!("setting header {name:?} is not allowed")),
            None => Ok(()),
        }
    }
}

/// A relative `file` becomes one below `directory`.
pub(super) fn join(directory: &Path, file: &mut PathBuf) {
    if !file.as_os_str().is_empty() {
        *file = directory.join(&*file);
    }
}
