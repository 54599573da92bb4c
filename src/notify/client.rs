//! An HTTP client as a configuration describes it: credentials, TLS, proxies, headers.
//!
//! Files with credentials are read for each request, and a client is built anew when one of its TLS files changed, so that
//! what is rotated takes effect without a reload. A file that cannot be read fails the request, which is tried again.

use super::oauth2::Tokens;
use crate::app::load::with_causes;
use crate::config::{Credentials, HttpClientConfig, SecretUrl, TlsVersion};
use futures::FutureExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode, Url, redirect};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The largest file that holds a secret or certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;
const REDIRECTS_MAX: usize = 10;

/// A client. Connections are kept and shared by all requests.
#[derive(Debug)]
pub(super) struct HttpClient {
    config: HttpClientConfig,
    /// Which redirects are followed.
    redirects: Redirects,
    /// One for each address if the other side must prove a name that is not in its address, else one for all.
    built: Mutex<BTreeMap<Option<Authority>, Built>>,
    tokens: Option<Tokens>,
}

/// Which redirects are followed, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirects {
    /// Those that repeat the request as it was. All others would turn a delivery into a question, whose answer says nothing
    /// about the alerts.
    Repeating,
    All,
}

/// Host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Authority {
    host: String,
    port: u16,
}

#[derive(Debug, Clone)]
struct Built {
    client: reqwest::Client,
    /// The texts it was built from.
    tls: TlsTexts,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct TlsTexts {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl HttpClient {
    /// A client that delivers.
    pub(super) fn new(config: HttpClientConfig) -> Self {
        Self::following(Redirects::Repeating, config)
    }

    /// A client that only asks: whoever knows where the answer is may send it there.
    pub(super) fn for_questions(config: HttpClientConfig) -> Self {
        Self::following(Redirects::All, config)
    }

    fn following(redirects: Redirects, config: HttpClientConfig) -> Self {
        let tokens = match &config.credentials {
            Credentials::OAuth2(oauth2) => Some(Tokens::new((**oauth2).clone())),
            _ => None,
        };
        Self { config, redirects, built: Mutex::default(), tokens }
    }

    pub(super) fn config(&self) -> &HttpClientConfig {
        &self.config
    }

    /// A request with everything that the configuration adds to it.
    ///
    /// # Errors
    /// The URL is none, a file cannot be read, there is no token, or TLS cannot be set up.
    pub(super) async fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, String> {
        let mut url = Url::parse(url).map_err(|error| format!("{url:?}: {error}"))?;
        let named = self.server_name(&mut url)?;
        let client = self.client(named.as_ref()).await?;
        let mut headers = HeaderMap::new();
        if let Some(Authority { host, port }) = &named {
            headers.insert(HOST, header_value(&format!("{host}:{port}"))?);
        }
        for (name, header) in &self.config.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{name:?}: {error}"))?;
            for value in header.values.iter().map(String::as_str).chain(header.secrets.iter().map(|s| s.expose())) {
                headers.append(name.clone(), header_value(value)?);
            }
            for file in &header.files {
                headers.append(name.clone(), header_value(&read_secret(file).await?)?);
            }
        }
        let mut request = client.request(method, url).headers(headers);
        match &self.config.credentials {
            Credentials::None => {}
            Credentials::Basic(auth) => {
                let user = secret(&auth.username, auth.username_file.as_deref()).await?;
                let password = secret(auth.password.expose(), auth.password_file.as_deref()).await?;
                request = request.basic_auth(user, Some(password));
            }
            Credentials::Header(header) => {
                let credentials = header.credentials.as_ref().map_or("", |secret| secret.expose());
                let credentials = secret(credentials, header.credentials_file.as_deref()).await?;
                // A type without credentials says nothing, and Prometheus sends nothing then either.
                if !credentials.is_empty() {
                    request = request.header(AUTHORIZATION, sensitive(&header.kind, &credentials)?);
                }
            }
            Credentials::OAuth2(_) => {
                if let Some(tokens) = &self.tokens {
                    let token = tokens.get().await?;
                    request = request.header(AUTHORIZATION, sensitive(&token.kind, &token.text)?);
                }
            }
        }
        Ok(request)
    }

    /// Takes note of an answer: a token that was refused is not used again.
    pub(super) async fn note(&self, status: StatusCode) {
        if let Some(tokens) = self.tokens.as_ref().filter(|_| status == StatusCode::UNAUTHORIZED) {
            tokens.forget().await;
        }
    }

    /// If the other side must prove another name than that in its address, the URL gets that name, and the address is
    /// returned: to be connected to, and to be called by in the request.
    fn server_name(&self, url: &mut Url) -> Result<Option<Authority>, String> {
        let name = &self.config.tls.server_name;
        if name.is_empty() || url.scheme() != "https" {
            return Ok(None);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        url.set_host(Some(name)).map_err(|error| format!("server_name {name:?}: {error}"))?;
        Ok(Some(Authority { host, port }))
    }

    async fn client(&self, authority: Option<&Authority>) -> Result<reqwest::Client, String> {
        let texts = self.tls_texts().await?;
        let mut built = self.built.lock().await;
        if let Some(known) = built.get(&authority.cloned()).filter(|known| known.tls == texts) {
            return Ok(known.client.clone());
        }
        let client = self.build(authority, &texts)?;
        built.insert(authority.cloned(), Built { client: client.clone(), tls: texts });
        Ok(client)
    }

    async fn tls_texts(&self) -> Result<TlsTexts, String> {
        let tls = &self.config.tls;
        Ok(TlsTexts {
            ca: text(&tls.ca, tls.ca_file.as_deref()).await?,
            cert: text(&tls.cert, tls.cert_file.as_deref()).await?,
            key: text(tls.key.expose(), tls.key_file.as_deref()).await?,
        })
    }

    fn build(&self, authority: Option<&Authority>, texts: &TlsTexts) -> Result<reqwest::Client, String> {
        let HttpClientConfig { tls, proxy, follow_redirects, enable_http2, .. } = &self.config;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("Hearth/", env!("CARGO_PKG_VERSION")))
            .redirect(match self.redirects {
                _ if !follow_redirects => redirect::Policy::none(),
                Redirects::Repeating => repeating_redirects(),
                Redirects::All => redirect::Policy::limited(REDIRECTS_MAX),
            })
            .use_rustls_tls()
            .danger_accept_invalid_certs(tls.insecure_skip_verify);
        if let Some(version) = tls.min_version {
            builder = builder.min_tls_version(tls_version(version));
        }
        if let Some(version) = tls.max_version {
            builder = builder.max_tls_version(tls_version(version));
        }
        if !texts.ca.is_empty() {
            builder = builder.tls_built_in_root_certs(false);
            let of_pem = reqwest::Certificate::from_pem_bundle(&texts.ca);
            for certificate in of_pem.map_err(|error| format!("tls_config.ca: {}", with_causes(&error)))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if !texts.cert.is_empty() {
            let both = [texts.key.as_slice(), b"\n", texts.cert.as_slice()].concat();
            let identity = reqwest::Identity::from_pem(&both);
            builder = builder.identity(identity.map_err(|error| format!("tls_config.cert: {}", with_causes(&error)))?);
        }
        if let Some(address) = authority {
            builder =
                builder.dns_resolver(Arc::new(Named { name: tls.server_name.clone(), host: address.host.clone() }));
        }
        if !enable_http2 || authority.is_some() {
            builder = builder.http1_only();
        }
        if let Some(SecretUrl(url)) = &proxy.url {
            let mut through = reqwest::Proxy::all(url.clone()).map_err(|error| format!("proxy_url: {error}"))?;
            through = through.no_proxy(reqwest::NoProxy::from_string(&proxy.no_proxy));
            if !proxy.connect_header.is_empty() {
                let mut headers = HeaderMap::new();
                for (name, values) in &proxy.connect_header {
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{name:?}: {error}"))?;
                    for value in values {
                        headers.append(name.clone(), header_value(value.expose())?);
                    }
                }
                through = through.headers(headers);
            }
            builder = builder.proxy(through);
        } else if !proxy.from_environment {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| with_causes(&error))
    }
}

fn repeating_redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let repeats = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("stopped after 10 redirects")
        } else if repeats {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

fn tls_version(version: TlsVersion) -> reqwest::tls::Version {
    match version {
        TlsVersion::Tls10 => reqwest::tls::Version::TLS_1_0,
        TlsVersion::Tls11 => reqwest::tls::Version::TLS_1_1,
        TlsVersion::Tls12 => reqwest::tls::Version::TLS_1_2,
        TlsVersion::Tls13 => reqwest::tls::Version::TLS_1_3,
    }
}

/// Finds the host under another name; all other names are looked up as they are.
struct Named {
    name: String,
    host: String,
}

impl Resolve for Named {
    fn resolve(&self, name: Name) -> Resolving {
        let host =
            if name.as_str().eq_ignore_ascii_case(&self.name) { self.host.clone() } else { name.as_str().to_owned() };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        async move {
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        }
        .boxed()
    }
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "a header has a character that none can have".into())
}

/// `kind credentials`, not to be printed.
fn sensitive(kind: &str, credentials: &str) -> Result<HeaderValue, String> {
    let kind = if kind.trim().is_empty() { "Bearer" } else { kind.trim() };
    let mut value = header_value(&format!("{kind} {credentials}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `inline`, or what is in `file` without blanks around it.
async fn secret(inline: &str, file: Option<&Path>) -> Result<String, String> {
    match file {
        Some(file) => read_secret(file).await,
        None => Ok(inline.to_owned()),
    }
}

pub(super) async fn read_secret(file: &Path) -> Result<String, String> {
    let bytes = read(file.to_owned()).await?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8", file.display()))?;
    Ok(text.trim().to_owned())
}

async fn text(inline: &str, file: Option<&Path>) -> Result<Vec<u8>, String> {
    match file {
        Some(file) => read(file.to_owned()).await,
        None => Ok(inline.as_bytes().to_vec()),
    }
}

async fn read(file: PathBuf) -> Result<Vec<u8>, String> {
    let name = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || super::discovery::read_bounded(&file, FILE_BYTES_MAX));
    read.await.map_err(|error| error.to_string())?.map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests;
