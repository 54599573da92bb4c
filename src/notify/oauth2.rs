//! Tokens of OAuth 2.0, grant type `client_credentials` (RFC 6749, section 4.4).

use super::client::{HttpClient, read_secret};
use crate::app::load::with_causes;
use crate::config::OAuth2;
use reqwest::{Method, StatusCode};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A token is not used any more this long before it ends.
const EARLY: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asks for tokens and keeps them while they are good.
#[derive(Debug)]
pub(super) struct Tokens {
    config: OAuth2,
    client: Box<HttpClient>,
    kept: Mutex<Option<Kept>>,
}

/// What goes into the header.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) kind: String,
    pub(super) text: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Kept {
    token: Token,
    until: Option<Instant>,
}

/// How the client says who it is; servers are free to know only one of them.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Header,
    Form,
}

impl Tokens {
    pub(super) fn new(config: OAuth2) -> Self {
        let client = Box::new(HttpClient::new(config.http_client()));
        Self { config, client, kept: Mutex::default() }
    }

    /// A token that is good.
    pub(super) async fn get(&self) -> Result<Token, String> {
        let mut kept = self.kept.lock().await;
        if let Some(known) = kept.as_ref().filter(|known| known.until.is_none_or(|until| Instant::now() < until)) {
            return Ok(known.token.clone());
        }
        let fresh = match Box::pin(self.ask(Style::Header)).await {
            Err((Some(_), _)) => Box::pin(self.ask(Style::Form)).await,
            outcome => outcome,
        };
        let fresh =
            fresh.map_err(|(_, problem)| format!("oauth2: no token from {}: {problem}", self.config.token_url))?;
        Ok(kept.insert(fresh).token.clone())
    }

    /// The kept token was refused.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn ask(&self, style: Style) -> Result<Kept, (Option<StatusCode>, String)> {
        let before = |problem: String| (None, problem);
        let secret = match &self.config.client_secret_file {
            Some(file) => read_secret(file).await.map_err(before)?,
            None => self.config.client_secret.expose().to_owned(),
        };
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !self.config.scopes.is_empty() {
            form.push(("scope", self.config.scopes.join(" ")));
        }
        if style == Style::Form {
            form.extend([("client_id", self.config.client_id.clone()), ("client_secret", secret.clone())]);
        }
        form.extend(self.config.endpoint_params.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let request = Box::pin(self.client.request(Method::POST, &self.config.token_url)).await.map_err(before)?;
        let request = request.timeout(TIMEOUT).form(&form);
        let request = match style {
            Style::Header => request.basic_auth(escaped(&self.config.client_id), Some(escaped(&secret))),
            Style::Form => request,
        };
        let answer = request.send().await.map_err(|error| (None, with_causes(&error)))?;
        let status = answer.status();
        let body = super::post::body(answer, ANSWER_BYTES_MAX).await.map_err(before)?;
        if !status.is_success() {
            return Err((Some(status), status.to_string()));
        }
        read(&body).map_err(|problem| (None, problem))
    }
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn read(body: &[u8]) -> Result<Kept, String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        access_token: String,
        #[serde(default)]
        token_type: String,
        #[serde(default)]
        expires_in: serde_json::Value,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| format!("not a token: {error}"))?;
    if answer.access_token.is_empty() {
        return Err("the token is empty".into());
    }
    // Some servers write the number as a text.
    let seconds = answer.expires_in.as_u64().or_else(|| answer.expires_in.as_str()?.parse().ok()).filter(|s| *s > 0);
    let until = seconds.and_then(|s| Instant::now().checked_add(Duration::from_secs(s).saturating_sub(EARLY)));
    // Servers say `bearer`, and those who check tokens expect `Bearer`.
    let bearer = answer.token_type.is_empty() || answer.token_type.eq_ignore_ascii_case("bearer");
    let kind = if bearer { "Bearer".to_owned() } else { answer.token_type };
    Ok(Kept { token: Token { kind, text: answer.access_token }, until })
}
