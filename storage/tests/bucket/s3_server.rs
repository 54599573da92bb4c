//! A server that speaks S3 over objects in memory: it checks signatures, creates atomically, lists in small pages, and fails
//! when told to.

use super::cloud::Cloud;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

pub(crate) const BUCKET: &str = "metrics";
pub(crate) const ACCESS_KEY: &str = "AKIAEXAMPLE";
pub(crate) const SECRET_KEY: &str = "not-a-secret";

#[derive(Clone)]
pub(crate) struct S3Server {
    pub(crate) cloud: Cloud,
    address: SocketAddr,
}

impl S3Server {
    /// Serves on a free port until the runtime ends.
    pub(crate) async fn start(seed: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { cloud: Cloud::new(seed), address: listener.local_addr().unwrap() };
        let mut builder = S3ServiceBuilder::new(server.clone());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    // A client that breaks off is no business of ours.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits as long as this request has to, and answers it with a fault or leaves it alone.
    async fn admit(&self) -> S3Result<()> {
        if self.cloud.is_turned_away().await { Err(s3_error!(SlowDown)) } else { Ok(()) }
    }

    /// The answer to a write that happened, or not.
    fn answer<T>(&self, output: T) -> S3Result<S3Response<T>> {
        if self.cloud.is_answer_lost() { Err(s3_error!(InternalError)) } else { Ok(S3Response::new(output)) }
    }
}

fn failure(error: Error) -> s3s::S3Error {
    match error {
        Error::NotFound { .. } => s3_error!(NoSuchKey),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => s3_error!(PreconditionFailed),
        error => s3_error!(InternalError, "{error}"),
    }
}

async fn whole(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut bytes = BytesMut::new();
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| s3_error!(IncompleteBody, "{error}"))?);
    }
    Ok(bytes.freeze())
}

fn etag(text: Option<String>) -> Option<ETag> {
    text.map(|text| ETag::Strong(text.trim_matches('"').to_owned()))
}

#[async_trait]
impl S3 for S3Server {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.admit().await?;
        let input = request.input;
        let mode = if input.if_none_match.is_some() { PutMode::Create } else { PutMode::Overwrite };
        let bytes = whole(input.body).await?;
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.cloud.memory.put_opts(&Path::from(input.key), bytes.into(), options).await.map_err(failure)?;
        self.answer(PutObjectOutput { e_tag: etag(put.e_tag), ..PutObjectOutput::default() })
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.admit().await?;
        let path = Path::from(request.input.key);
        let size = self.cloud.memory.head(&path).await.map_err(failure)?.size;
        let range = match request.input.range {
            Some(range) => Some(range.check(size).map_err(|_| s3_error!(InvalidRange))?),
            None => None,
        };
        let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.cloud.memory.get_opts(&path, options).await.map_err(failure)?;
        let (e_tag, modified) = (found.meta.e_tag.clone(), SystemTime::from(found.meta.last_modified));
        let bytes = found.bytes().await.map_err(failure)?;
        let length = bytes.len();
        let mut chunks: Vec<io::Result<Bytes>> = vec![Ok(bytes.clone())];
        if self.cloud.is_cut() {
            chunks = vec![Ok(bytes.slice(..length / 2)), Err(io::Error::other("cut"))];
        }
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(futures::stream::iter(chunks))),
            content_length: Some(length as i64),
            content_range: range.map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            e_tag: etag(e_tag),
            last_modified: Some(modified.into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.admit().await?;
        let meta = self.cloud.memory.head(&Path::from(request.input.key)).await.map_err(failure)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(meta.size as i64),
            e_tag: etag(meta.e_tag),
            last_modified: Some(SystemTime::from(meta.last_modified).into()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.admit().await?;
        match self.cloud.memory.delete(&Path::from(request.input.key)).await {
            Ok(()) | Err(Error::NotFound { .. }) => self.answer(DeleteObjectOutput::default()),
            Err(error) => Err(failure(error)),
        }
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.admit().await?;
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let (found, is_truncated) = self.cloud.page(&prefix, |name| name > after.as_str()).await.map_err(failure)?;
        let next = found.last().filter(|_| is_truncated).map(|object| object.location.to_string());
        let contents = found.into_iter().map(|object| Object {
            key: Some(object.location.to_string()),
            size: Some(object.size as i64),
            last_modified: Some(SystemTime::from(object.last_modified).into()),
            e_tag: etag(object.e_tag),
            ..Object::default()
        });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            is_truncated: Some(is_truncated),
            next_continuation_token: next,
            contents: Some(contents.collect()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.admit().await?;
        let (bucket, key) = (request.input.bucket, request.input.key);
        let id = self.cloud.memory.create_multipart(&Path::from(key.as_str())).await.map_err(failure)?;
        self.answer(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        })
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.admit().await?;
        let input = request.input;
        let bytes = whole(input.body).await?;
        let index = usize::try_from(input.part_number - 1).unwrap();
        let part = self.cloud.memory.put_part(&Path::from(input.key), &input.upload_id, index, bytes.into()).await;
        let part = part.map_err(|_| s3_error!(NoSuchUpload))?;
        self.answer(UploadPartOutput { e_tag: Some(ETag::Strong(part.content_id)), ..UploadPartOutput::default() })
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.admit().await?;
        let input = request.input;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts = parts.into_iter().filter_map(|part| part.e_tag);
        let parts: Vec<_> = parts.map(|tag| PartId { content_id: tag.into_value() }).collect();
        let path = Path::from(input.key.as_str());
        let done = self.cloud.memory.complete_multipart(&path, &input.upload_id, parts).await;
        let done = done.map_err(|_| s3_error!(NoSuchUpload))?;
        self.answer(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: etag(done.e_tag),
            ..CompleteMultipartUploadOutput::default()
        })
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        let _ = self.cloud.memory.abort_multipart(&Path::from(input.key), &input.upload_id).await;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
