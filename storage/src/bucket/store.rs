//! An opened store in the form that a bucket needs: objects, parts of large objects, and the directory if it is one.

use super::BucketError;
use async_trait::async_trait;
use object_store::ObjectStore;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use std::path::Path;
use std::sync::{Arc, Once};

/// Where objects are: the seam at which tests put a store that fails.
#[derive(Clone)]
pub struct BucketStore {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// How large objects are written; directories have a way of their own.
    pub(super) parts: Option<Arc<dyn MultipartStore>>,
    pub(super) local: Option<LocalFileSystem>,
}

impl BucketStore {
    /// A store that is reached by requests.
    pub fn new<S: ObjectStore + MultipartStore>(store: Arc<S>) -> Self {
        Self { objects: store.clone(), parts: Some(store), local: None }
    }

    /// Objects in the memory of this process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()))
    }

    /// Objects as files below a directory, which is made when missing. What was written survives a power cut.
    ///
    /// # Errors
    /// The directory cannot be made or opened.
    pub fn filesystem(root: &Path) -> Result<Self, BucketError> {
        std::fs::create_dir_all(root).map_err(BucketError::file("make the directory of blocks", root))?;
        let store = LocalFileSystem::new_with_prefix(root)
            .map_err(|error| BucketError::Option { option: "filesystem.directory", why: error.to_string() })?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self { objects: Arc::new(store.clone()), parts: None, local: Some(store) })
    }
}

/// Installs ring as the process's provider of TLS, once; a provider that is there already stays.
pub fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Makes HTTP clients that report as failures of the transport what servers answer that are overloaded or let nobody in.
///
/// `object_store` tells the status of a failed request only where it has an error for it: nothing is there, or a request for a single
/// object is denied. The cause of a transport error it always tells. So answers worth repeating become one here, and so do all other
/// denials.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        install_tls_provider();
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Client { client }))
    }
}

#[derive(Debug)]
struct Client {
    client: HttpClient,
}

/// A server that asks to come back later.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}: {body}")]
struct Overloaded {
    status: u16,
    body: String,
}

/// A server that does not let us in.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}: {body}")]
pub(super) struct NotLetIn {
    status: u16,
    body: String,
}

const ERROR_BODY_CHARS: usize = 500;

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        // Denials of requests for single objects are known as such without us.
        let (is_plain, is_batch) = (query.is_empty(), query.split('&').any(|pair| pair == "comp=batch"));
        let answer = self.client.execute(request).await?;
        let status = answer.status().as_u16();
        if is_batch && answer.status().is_success() {
            return check_batch(answer).await;
        }
        match Verdict::of(status) {
            Verdict::Overloaded => Err(overloaded(status, &answer.into_body().bytes().await?)),
            Verdict::NotLetIn if !is_plain => Err(not_let_in(status, &answer.into_body().bytes().await?)),
            Verdict::NotLetIn | Verdict::Other => Ok(answer),
        }
    }
}

/// What a status says of trying again.
enum Verdict {
    Overloaded,
    NotLetIn,
    Other,
}

impl Verdict {
    fn of(status: u16) -> Self {
        match status {
            408 | 429 | 500 | 502..=599 => Self::Overloaded,
            401 | 403 => Self::NotLetIn,
            _ => Self::Other,
        }
    }
}

fn overloaded(status: u16, body: &[u8]) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, Overloaded { status, body: begin_of(body) })
}

fn not_let_in(status: u16, body: &[u8]) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, NotLetIn { status, body: begin_of(body) })
}

fn begin_of(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(ERROR_BODY_CHARS).collect()
}

/// Azure answers `202 Accepted` to a batch of deletions, whatever became of each; their answers are in the body.
async fn check_batch(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = answer.into_parts();
    let body = body.bytes().await?;
    for line in body.split(|byte| *byte == b'\n') {
        let Some(status) = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first_chunk::<3>()) else { continue };
        let Some(status) = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok()) else { continue };
        match Verdict::of(status) {
            Verdict::Overloaded => return Err(overloaded(status, line)),
            Verdict::NotLetIn => return Err(not_let_in(status, line)),
            Verdict::Other => {}
        }
    }
    Ok(HttpResponse::from_parts(parts, body.into()))
}
