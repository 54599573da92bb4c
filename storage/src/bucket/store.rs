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

/// Makes HTTP clients that report answers of overloaded servers as failures of the transport.
///
/// The status of a failed request does not come through `object_store`'s errors; a transport error does. So that the two can
/// be told apart later, answers worth repeating become one here.
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

const ERROR_BODY_CHARS: usize = 500;

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.client.execute(request).await?;
        let status = answer.status().as_u16();
        if !matches!(status, 408 | 429 | 500 | 502..=599) {
            return Ok(answer);
        }
        let body = answer.into_body().bytes().await?;
        let body = String::from_utf8_lossy(&body).chars().take(ERROR_BODY_CHARS).collect();
        Err(HttpError::new(HttpErrorKind::Unknown, Overloaded { status, body }))
    }
}
