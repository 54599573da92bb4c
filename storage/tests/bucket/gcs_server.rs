//! A server that speaks the XML protocol of Google Cloud Storage over objects in memory: it checks tokens, creates atomically,
//! lists in small pages, and fails when told to. <https://cloud.google.com/storage/docs/xml-api/reference-methods>

use super::cloud::Cloud;
use super::http::{self, Answer, Call, Protocol, elements, set, text};
use super::service_account::{EMAIL, has_signed};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, PutMode, PutOptions};
use percent_encoding::percent_decode_str;
use std::net::SocketAddr;

pub(crate) const BUCKET: &str = "metrics";

#[derive(Clone)]
pub(crate) struct GcsServer {
    pub(crate) cloud: Cloud,
    address: SocketAddr,
    /// Whether requests without a token are let in, and those with one are not.
    is_public: bool,
}

impl GcsServer {
    /// Serves on a free port until the runtime ends.
    pub(crate) async fn start(seed: u64, is_public: bool) -> Self {
        let server = Self { cloud: Cloud::new(seed), address: ([127, 0, 0, 1], 0).into(), is_public };
        Self { address: http::serve(server.clone()).await, ..server }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the request bears a token that the account signed for this service.
    fn is_allowed(&self, call: &Call) -> bool {
        let token = call.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        match token {
            None => self.is_public,
            Some(token) => !self.is_public && is_signed(token).unwrap_or(false),
        }
    }

    async fn object(&self, call: Call, path: &Path) -> Result<Answer, Error> {
        let upload = call.parameter("uploadId").map(ToOwned::to_owned);
        match (call.method.as_str(), upload) {
            ("GET" | "HEAD", None) => self.read(&call, path).await,
            ("PUT", None) => self.put(call, path).await,
            ("DELETE", None) => {
                self.cloud.remove(path).await?;
                Ok(self.done(text(204, "")))
            }
            ("POST", None) if call.parameter("uploads").is_some() => {
                let id = self.cloud.memory.create_multipart(path).await?;
                let result = format!(
                    "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{path}</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                Ok(self.done(text(200, result)))
            }
            ("PUT", Some(upload)) => {
                let index = call.parameter("partNumber").and_then(|number| number.parse::<usize>().ok()).unwrap() - 1;
                let part = self.cloud.memory.put_part(path, &upload, index, call.body.into()).await;
                let Ok(part) = part else { return Ok(no_such_upload()) };
                let mut answer = text(200, "");
                set(&mut answer, "etag", &format!("\"{}\"", part.content_id));
                Ok(self.done(answer))
            }
            ("POST", Some(upload)) => {
                let body = String::from_utf8_lossy(&call.body).into_owned();
                let tags = elements(&body, "ETag").map(|tag| PartId { content_id: tag.replace('"', "") });
                let done = self.cloud.memory.complete_multipart(path, &upload, tags.collect()).await;
                let Ok(done) = done else { return Ok(no_such_upload()) };
                let tag = done.e_tag.unwrap_or_default();
                let result = format!(
                    "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{path}</Key>\
                     <ETag>\"{tag}\"</ETag></CompleteMultipartUploadResult>"
                );
                Ok(self.done(text(200, result)))
            }
            ("DELETE", Some(upload)) => {
                let _ = self.cloud.memory.abort_multipart(path, &upload).await;
                Ok(text(204, ""))
            }
            _ => Ok(failure(400, "InvalidArgument")),
        }
    }

    async fn read(&self, call: &Call, path: &Path) -> Result<Answer, Error> {
        let Some(mut answer) = self.cloud.read(call, path).await? else { return Ok(failure(416, "InvalidRange")) };
        set(&mut answer, "x-goog-generation", "1");
        Ok(answer)
    }

    async fn put(&self, call: Call, path: &Path) -> Result<Answer, Error> {
        let mode = match call.header("x-goog-if-generation-match") {
            None => PutMode::Overwrite,
            Some("0") => PutMode::Create,
            Some(_) => return Ok(failure(412, "PreconditionFailed")),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.cloud.memory.put_opts(path, call.body.into(), options).await?;
        let mut answer = text(200, "");
        set(&mut answer, "etag", &format!("\"{}\"", put.e_tag.unwrap_or_default()));
        Ok(self.done(answer))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/get-bucket-list>, version 2.
    async fn list(&self, call: &Call) -> Result<Answer, Error> {
        assert_eq!(call.parameter("list-type"), Some("2"));
        let after = call.parameter("continuation-token").or(call.parameter("start-after")).unwrap_or_default();
        let (found, is_truncated) =
            self.cloud.page(call.parameter("prefix").unwrap_or_default(), |name| name > after).await?;
        let next = found.last().filter(|_| is_truncated);
        let next = next.map(|last| format!("<NextContinuationToken>{}</NextContinuationToken>", last.location));
        let contents: String = found.iter().map(content).collect();
        Ok(text(
            200,
            format!(
                "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult><Name>{BUCKET}</Name>\
                 <IsTruncated>{is_truncated}</IsTruncated>{}{contents}</ListBucketResult>",
                next.unwrap_or_default()
            ),
        ))
    }

    /// The answer to a write that happened.
    fn done(&self, answer: Answer) -> Answer {
        if self.cloud.is_answer_lost() { failure(500, "InternalError") } else { answer }
    }
}

impl Protocol for GcsServer {
    async fn answer(&self, call: Call) -> Answer {
        if !self.is_allowed(&call) {
            return failure(401, "AuthenticationRequired");
        }
        if self.cloud.is_turned_away().await {
            return failure(503, "SlowDown");
        }
        let name = percent_decode_str(&call.path).decode_utf8().unwrap().into_owned();
        let answer = match name.strip_prefix(&format!("/{BUCKET}")) {
            Some("") => self.list(&call).await,
            Some(name) => self.object(call, &Path::parse(&name[1..]).unwrap()).await,
            None => return failure(404, "NoSuchBucket"),
        };
        answer.unwrap_or_else(|error| match error {
            Error::NotFound { .. } => failure(404, "NoSuchKey"),
            Error::AlreadyExists { .. } => failure(412, "PreconditionFailed"),
            error => panic!("{error:?}"),
        })
    }
}

fn failure(status: u16, code: &str) -> Answer {
    text(status, format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"))
}

fn no_such_upload() -> Answer {
    failure(404, "NoSuchUpload")
}

fn content(object: &ObjectMeta) -> String {
    format!(
        "<Contents><Key>{}</Key><Generation>1</Generation><LastModified>{}</LastModified>\
         <ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
        object.location,
        object.last_modified.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
        object.e_tag.as_deref().unwrap_or_default(),
        object.size,
    )
}

/// Whether the account signed the token, for itself and not for ever. <https://google.aip.dev/auth/4111>
fn is_signed(token: &str) -> Option<bool> {
    let (message, signature) = token.rsplit_once('.')?;
    let (_, claims) = message.split_once('.')?;
    let claims: serde_json::Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let is_meant = claims["iss"] == EMAIL && claims["exp"].as_u64()? > now && claims["scope"].is_string();
    Some(is_meant && has_signed(message.as_bytes(), &BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?))
}
