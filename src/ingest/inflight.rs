//! Bounds the bytes of requests in work, so that a flood of them is turned away instead of filling the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of all requests in work. A handle: clones share the count.
#[derive(Debug, Clone)]
pub struct InflightBytes {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// Too many bytes are in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("requests of {held} bytes are in work, {bytes_max} are allowed")]
pub struct Overloaded {
    /// Bytes in work.
    pub held: usize,
    /// The bound.
    pub bytes_max: usize,
}

impl InflightBytes {
    /// A count that starts at nothing.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { held: Arc::default(), bytes_max }
    }

    /// How many bytes are in work now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Begins to count a request, with no bytes yet.
    #[must_use]
    pub fn begin(&self) -> Hold {
        Hold { inflight: self.clone(), bytes: 0 }
    }
}

/// The bytes of one request; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    inflight: InflightBytes,
    bytes: usize,
}

impl Hold {
    /// Counts so many bytes more. A request that is alone may pass the bound, or it could never succeed.
    ///
    /// # Errors
    /// Others hold the bytes; nothing was counted.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let InflightBytes { held, bytes_max } = &self.inflight;
        let own = self.bytes;
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let sum = held.saturating_add(bytes);
            (sum <= *bytes_max || held == own).then_some(sum)
        });
        match grown {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(held) => Err(Overloaded { held, bytes_max: *bytes_max }),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inflight.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let inflight = InflightBytes::new(100);
        let mut first = inflight.begin();
        first.grow(60).unwrap();
        let mut second = inflight.begin();
        assert_eq!(second.grow(50), Err(Overloaded { held: 60, bytes_max: 100 }));
        second.grow(40).unwrap();
        drop((first, second));
        assert_eq!(inflight.held(), 0);
    }

    #[test]
    fn a_request_that_is_alone_may_pass_the_bound() {
        let inflight = InflightBytes::new(100);
        let mut alone = inflight.begin();
        alone.grow(90).unwrap();
        alone.grow(200).unwrap();
        assert!(inflight.begin().grow(1).is_err());
    }
}
