//! What can go wrong with a store, and what a caller can do about it.

use super::Operation;
use super::store::NotLetIn;
use crate::error::ErrorKind;
use bytes::Bytes;
use object_store::client::HttpError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A failed operation. Cheap to clone: one failed read may answer many queries.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BucketError {
    /// There is no such object.
    #[error("object `{key}` does not exist")]
    NotFound {
        /// Its name.
        key: String,
    },
    /// The credentials are not good for this.
    #[error("{operation} `{key}` is not allowed")]
    Denied {
        /// What was attempted.
        operation: Operation,
        /// On which object.
        key: String,
        /// What the store said.
        source: Arc<RequestError>,
    },
    /// The object is shorter than what is said about it elsewhere.
    #[error("object `{key}` has {bytes} bytes, which is less than the {end} that were expected")]
    Truncated {
        /// Its name.
        key: String,
        /// Its size.
        bytes: u64,
        /// Exclusive end of the range that was asked for.
        end: u64,
    },
    /// The store cannot be reached, is overloaded, or keeps breaking off.
    #[error("{operation} `{key}` failed {attempts} times")]
    Unavailable {
        /// What was attempted.
        operation: Operation,
        /// On which object.
        key: String,
        /// How often.
        attempts: u32,
        /// Why the last time.
        source: Arc<RequestError>,
    },
    /// The store refuses what was asked; asking again will not help.
    #[error("{operation} `{key}` was refused")]
    Refused {
        /// What was attempted.
        operation: Operation,
        /// On which object.
        key: String,
        /// What the store said.
        source: Arc<RequestError>,
    },
    /// No object can have this name.
    #[error("{key:?} is not a valid name of an object: {why}")]
    Key {
        /// The name.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A local file cannot be used.
    #[error("{step} {}", path.display())]
    File {
        /// What was attempted, such as `read file to upload`.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// An option has a value that cannot work.
    #[error("object_store.{option}: {why}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl BucketError {
    pub(super) fn new(operation: Operation, key: &str, attempts: u32, error: RequestError) -> Self {
        let key = key.to_owned();
        match error.class() {
            Class::NotFound => Self::NotFound { key },
            Class::Denied => Self::Denied { operation, key, source: Arc::new(error) },
            Class::Retryable => Self::Unavailable { operation, key, attempts, source: Arc::new(error) },
            Class::Refused => match error {
                RequestError::Short { bytes, end } => Self::Truncated { key, bytes, end },
                error => Self::Refused { operation, key, source: Arc::new(error) },
            },
        }
    }

    /// Wraps a failure of the operating system: `open(path).map_err(BucketError::file("read file to upload", path))`.
    pub(super) fn file(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { step, path, source: Arc::new(source) }
    }

    /// What the caller can do. An object that is missing or too short was promised by a manifest: that is damage.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Truncated { .. } => ErrorKind::Corrupt,
            Self::Denied { .. } | Self::Unavailable { .. } | Self::Refused { .. } | Self::File { .. } => {
                ErrorKind::Unavailable
            }
            Self::Key { .. } | Self::Option { .. } => ErrorKind::Invalid,
        }
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The store or the way to it.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// No answer in time.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The answer broke off.
    #[error("the answer broke off after {received} of {expected} bytes")]
    Cut {
        /// Bytes that came.
        received: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// The object itself ends too early.
    #[error("the object has {bytes} bytes, {end} were expected")]
    Short {
        /// Its size.
        bytes: u64,
        /// Exclusive end of the range that was asked for.
        end: u64,
    },
    /// Another request for the same object was in progress.
    #[error("another request for this object is in progress")]
    Conflict,
}

/// What can be done about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Retryable,
    NotFound,
    Denied,
    Refused,
}

impl RequestError {
    pub(super) fn cut(received: &Bytes, expected: u64) -> Self {
        Self::Cut { received: received.len() as u64, expected }
    }

    pub(super) fn class(&self) -> Class {
        match self {
            Self::TimedOut { .. } | Self::Cut { .. } | Self::Conflict => Class::Retryable,
            Self::Short { .. } => Class::Refused,
            Self::Store(error) => class_of(error),
        }
    }
}

fn class_of(error: &object_store::Error) -> Class {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => Class::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Class::Denied,
        Error::JoinError { .. } => Class::Retryable,
        Error::Generic { source, .. } => class_of_cause(source.as_ref()),
        _ => Class::Refused,
    }
}

/// What can be done about a failure that `object_store` says nothing about but its cause. An [`HttpError`] may be gone in a moment,
/// unless our connector made it of a denial; so may an error of the system that says so.
fn class_of_cause(error: &(dyn std::error::Error + 'static)) -> Class {
    let mut cause = Some(error);
    let mut class = Class::Refused;
    while let Some(error) = cause {
        if error.is::<NotLetIn>() {
            return Class::Denied;
        }
        if error.is::<HttpError>() {
            class = Class::Retryable;
        } else if let Some(error) = error.downcast_ref::<io::Error>()
            && is_transient(error)
        {
            class = Class::Retryable;
        }
        cause = error.source();
    }
    class
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
        || matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
