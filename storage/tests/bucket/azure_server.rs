//! A server that speaks the protocol of Azure Blob Storage over objects in memory: it checks signatures, creates atomically,
//! lists in small pages, and fails when told to. <https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api>

use super::cloud::Cloud;
use super::http::{self, Answer, Call, Protocol, elements, set, text};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use hyper::header::{HeaderMap, HeaderName};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

pub(crate) const ACCOUNT: &str = "hearthtests";
pub(crate) const CONTAINER: &str = "metrics";
pub(crate) const ACCESS_KEY: &str = "bm90IGEgc2VjcmV0LCBidXQgYmFzZTY0IG9mIHNvbWV0aGluZw==";
/// As the portal shows it, behind the URL's question mark.
pub(crate) const SAS_TOKEN: &str =
    "?sp=racwdl&st=2026-01-01T00:00:00Z&se=2099-01-01T00:00:00Z&sv=2023-11-03&sr=c&sig=ab%2Bcd%2Fef012%3D";

#[derive(Clone)]
pub(crate) struct AzureServer {
    pub(crate) cloud: Cloud,
    /// Blocks of each blob that no list of blocks named yet, by their identity.
    blocks: Arc<Mutex<HashMap<Path, HashMap<String, Bytes>>>>,
    /// Whether lists begin where they are asked to; the emulator's do not.
    is_emulator: bool,
    address: SocketAddr,
}

impl AzureServer {
    /// Serves on a free port until the runtime ends.
    pub(crate) async fn start(seed: u64, is_emulator: bool) -> Self {
        let address = ([127, 0, 0, 1], 0).into();
        let server = Self { cloud: Cloud::new(seed), blocks: Arc::default(), is_emulator, address };
        Self { address: http::serve(server.clone()).await, ..server }
    }

    /// With the account in the path, as services without host names of their own have it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    async fn blob(&self, call: Call, path: &Path) -> Result<Answer, Error> {
        match (call.method.as_str(), call.parameter("comp")) {
            ("GET" | "HEAD", None) => self.read(&call, path).await,
            ("PUT", None) => self.put(call, path).await,
            ("PUT", Some("block")) => {
                let id = call.parameter("blockid").unwrap().to_owned();
                self.blocks.lock().unwrap().entry(path.clone()).or_default().insert(id, call.body);
                Ok(self.done(text(201, "")))
            }
            ("PUT", Some("blocklist")) => self.put_blocks(&call, path).await,
            _ => Ok(failure(400, "UnsupportedHttpVerb")),
        }
    }

    async fn read(&self, call: &Call, path: &Path) -> Result<Answer, Error> {
        let Some(mut answer) = self.cloud.read(call, path).await? else { return Ok(failure(416, "InvalidRange")) };
        set(&mut answer, "x-ms-blob-type", "BlockBlob");
        Ok(answer)
    }

    async fn put(&self, call: Call, path: &Path) -> Result<Answer, Error> {
        assert_eq!(call.header("x-ms-blob-type"), Some("BlockBlob"));
        let mode = match call.header("if-none-match") {
            None => PutMode::Overwrite,
            Some("*") => PutMode::Create,
            Some(_) => return Ok(failure(400, "InvalidHeaderValue")),
        };
        let put = self.cloud.memory.put_opts(path, call.body.into(), PutOptions { mode, ..PutOptions::default() });
        let tag = put.await?.e_tag.unwrap_or_default();
        self.blocks.lock().unwrap().remove(path);
        Ok(self.done(created(&tag)))
    }

    /// Makes a blob of its blocks; those that are not in the list are gone then.
    async fn put_blocks(&self, call: &Call, path: &Path) -> Result<Answer, Error> {
        let list = String::from_utf8_lossy(&call.body).into_owned();
        let whole = {
            let mut blocks = self.blocks.lock().unwrap();
            let uncommitted = blocks.get(path).cloned().unwrap_or_default();
            let mut whole = BytesMut::new();
            for id in elements(&list, "Uncommitted") {
                let Some(block) = uncommitted.get(id) else { return Ok(failure(400, "InvalidBlockList")) };
                whole.extend_from_slice(block);
            }
            blocks.remove(path);
            whole.freeze()
        };
        let put = self.cloud.memory.put(path, whole.into()).await?;
        Ok(self.done(created(&put.e_tag.unwrap_or_default())))
    }

    /// <https://learn.microsoft.com/en-us/rest/api/storageservices/list-blobs>
    async fn list(&self, call: &Call) -> Result<Answer, Error> {
        let prefix = call.parameter("prefix").unwrap_or_default();
        let from = call.parameter("marker").or(call.parameter("startFrom").filter(|_| !self.is_emulator));
        let (found, is_truncated) = self.cloud.page(prefix, |name| name >= from.unwrap_or_default()).await?;
        let next = found.last().filter(|_| is_truncated).map(|last| format!("{}!", last.location));
        let blobs: String = found.iter().map(blob).collect();
        Ok(text(
            200,
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"{CONTAINER}\">\
                 <Prefix>{prefix}</Prefix><Blobs>{blobs}</Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
                next.unwrap_or_default()
            ),
        ))
    }

    /// Requests in the body of one: only deletions are there. <https://learn.microsoft.com/en-us/rest/api/storageservices/blob-batch>
    async fn batch(&self, call: &Call) -> Result<Answer, Error> {
        let boundary = call.header("content-type").unwrap().split_once("boundary=").unwrap().1.to_owned();
        let body = String::from_utf8_lossy(&call.body).into_owned();
        let mut answers = String::new();
        for part in body.split(&format!("--{boundary}\r\n")).skip(1) {
            let (head, request) = part.split_once("\r\n\r\n").unwrap();
            let id = head.lines().find_map(|line| line.strip_prefix("Content-ID: ")).unwrap();
            let (status, words) = self.delete(&deletion(request)).await?;
            answers += &format!(
                "--answers\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\n\
                 HTTP/1.1 {status} {words}\r\nx-ms-version: 2023-11-03\r\n\r\n"
            );
        }
        let mut answer = text(202, answers + "--answers--\r\n");
        set(&mut answer, "content-type", "multipart/mixed; boundary=answers");
        Ok(self.done(answer))
    }

    async fn delete(&self, call: &Call) -> Result<(u16, &'static str), Error> {
        if !is_allowed(call) {
            return Ok((403, "Server failed to authenticate the request."));
        }
        if self.cloud.is_turned_away().await {
            return Ok((503, "The server is busy."));
        }
        let name = percent_decode_str(&call.path).decode_utf8().unwrap().into_owned();
        let path = Path::parse(name.strip_prefix(&format!("/{ACCOUNT}/{CONTAINER}/")).unwrap())?;
        match self.cloud.remove(&path).await {
            Ok(()) => Ok((202, "Accepted")),
            Err(Error::NotFound { .. }) => Ok((404, "The specified blob does not exist.")),
            Err(error) => Err(error),
        }
    }

    /// The answer to a write that happened.
    fn done(&self, answer: Answer) -> Answer {
        if self.cloud.is_answer_lost() { failure(500, "InternalError") } else { answer }
    }
}

impl Protocol for AzureServer {
    async fn answer(&self, call: Call) -> Answer {
        if !is_allowed(&call) {
            return failure(403, "AuthenticationFailed");
        }
        if self.cloud.is_turned_away().await {
            return failure(503, "ServerBusy");
        }
        let name = percent_decode_str(&call.path).decode_utf8().unwrap().into_owned();
        let Some(name) = name.strip_prefix(&format!("/{ACCOUNT}/{CONTAINER}")) else {
            return failure(404, "ContainerNotFound");
        };
        let answer = match (name.trim_matches('/'), call.parameter("comp")) {
            ("", Some("list")) => self.list(&call).await,
            ("", Some("batch")) => self.batch(&call).await,
            (name, _) => {
                let path = Path::parse(name).unwrap();
                self.blob(call, &path).await
            }
        };
        answer.unwrap_or_else(|error| match error {
            Error::NotFound { .. } => failure(404, "BlobNotFound"),
            Error::AlreadyExists { .. } => failure(409, "BlobAlreadyExists"),
            error => panic!("{error:?}"),
        })
    }
}

fn failure(status: u16, code: &str) -> Answer {
    text(status, format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code></Error>"))
}

fn created(tag: &str) -> Answer {
    let mut answer = text(201, "");
    set(&mut answer, "etag", &format!("\"{tag}\""));
    answer
}

fn blob(object: &ObjectMeta) -> String {
    format!(
        "<Blob><Name>{}</Name><Properties><Last-Modified>{}</Last-Modified><Etag>{}</Etag><Content-Length>{}</Content-Length>\
         <Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>",
        object.location,
        object.last_modified.format("%a, %d %b %Y %H:%M:%S GMT"),
        object.e_tag.as_deref().unwrap_or_default(),
        object.size,
    )
}

/// The request that one part of a batch is.
fn deletion(request: &str) -> Call {
    let mut lines = request.lines();
    let target = lines.next().unwrap().strip_prefix("DELETE ").unwrap().strip_suffix(" HTTP/1.1").unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Call::new(hyper::Method::DELETE, target, headers, Bytes::new())
}

/// Whether the request bears the shared access signature, or is signed with the account's key.
fn is_allowed(call: &Call) -> bool {
    if let Some(signature) = call.parameter("sig") {
        return signature == "ab+cd/ef012=" && call.parameter("se") == Some("2099-01-01T00:00:00Z");
    }
    let given = call.header("authorization").and_then(|header| header.strip_prefix("SharedKey "));
    let Some((account, signature)) = given.and_then(|given| given.split_once(':')) else { return false };
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &BASE64_STANDARD.decode(ACCESS_KEY).unwrap());
    let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
    account == ACCOUNT && ring::hmac::verify(&key, signed_text(call).as_bytes(), &signature).is_ok()
}

/// What is signed. <https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key>
fn signed_text(call: &Call) -> String {
    let header = |name: &str| call.header(name).unwrap_or_default().to_owned();
    let length = header("content-length");
    let mut lines = vec![call.method.to_string(), header("content-encoding"), header("content-language")];
    lines.push(if length == "0" { String::new() } else { length });
    let standard = ["content-md5", "content-type", "date", "if-modified-since", "if-match", "if-none-match"];
    lines.extend(standard.into_iter().chain(["if-unmodified-since", "range"]).map(header));
    let mut own: Vec<_> = call.headers.keys().filter(|name| name.as_str().starts_with("x-ms-")).collect();
    own.sort_by_key(|name| name.as_str());
    lines.extend(own.into_iter().map(|name| format!("{name}:{}", header(name.as_str()))));
    lines.push(format!("/{ACCOUNT}{}", call.path));
    let mut parameters: Vec<_> =
        call.query.iter().map(|(name, value)| format!("{}:{value}", name.to_lowercase())).collect();
    parameters.sort();
    lines.extend(parameters);
    lines.join("\n")
}
