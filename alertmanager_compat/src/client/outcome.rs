//! What became of a delivery, and what follows from an HTTP status.

use std::time::Duration;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The Alertmanager has the alerts.
    Accepted,
    /// The Alertmanager will never accept these alerts together; perhaps one of them is to blame.
    Refused,
    /// No answer, or one that says nothing about the alerts: to be tried again, if it asked for that after `retry_after`.
    Unavailable {
        /// From the header `Retry-After`.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// What the status of an answer means.
    ///
    /// Only statuses that speak of the content count as a refusal: bad request, content too large, unprocessable. All others
    /// (redirects, missing rights, a path that is not there) are mistakes of somebody's settings and may be put right, so
    /// that the alerts had better wait.
    #[must_use]
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            200..=299 => Self::Accepted,
            400 | 413 | 422 => Self::Refused,
            _ => Self::Unavailable { retry_after },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statuses_about_the_content_refuse_alerts() {
        let wait = Some(Duration::from_secs(5));
        for (status, expected) in [
            (200, Outcome::Accepted),
            (204, Outcome::Accepted),
            (400, Outcome::Refused),
            (413, Outcome::Refused),
            (422, Outcome::Refused),
            (302, Outcome::Unavailable { retry_after: wait }),
            (401, Outcome::Unavailable { retry_after: wait }),
            (404, Outcome::Unavailable { retry_after: wait }),
            (429, Outcome::Unavailable { retry_after: wait }),
            (500, Outcome::Unavailable { retry_after: wait }),
            (503, Outcome::Unavailable { retry_after: wait }),
        ] {
            assert_eq!(Outcome::of_status(status, wait), expected, "{status}");
        }
    }
}
