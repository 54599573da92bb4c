//! What people must know about the state of the process, as `/api/v1/notifications` tells it.
//!
//! A notice stands or does not; whoever listens is told what changed since it last asked, and what came and went between two
//! looks is never told. So nothing queues up, however slow a listener is.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Something that people must know while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The process does not answer yet.
    Starting,
    /// The process ends. Nothing is told after it.
    Stopping,
    /// What was loaded last is not in force.
    ReloadFailed,
    /// The object store has not answered since the start.
    ObjectStoreAway,
    /// The object store answered before and fails now.
    ObjectStoreFails,
    /// Queries are refused.
    MemoryShort,
    /// Queries and samples are refused.
    MemoryFull,
    /// Samples will be refused unless something happens.
    LocalSpaceShort,
    /// Samples are refused.
    LocalSpaceFull,
}

impl Notice {
    /// For people. That of a failed reload is Prometheus', because the same thing happened.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Starting => "Hearth is starting: it opens its storage and replays the write-ahead log.",
            Self::Stopping => "Hearth is shutting down.",
            Self::ReloadFailed => "Configuration reload has failed.",
            Self::ObjectStoreAway => {
                "The object store has not answered since the start: only recent samples can be queried, and nothing leaves the \
                 local disk."
            }
            Self::ObjectStoreFails => {
                "Requests to the object store fail: what is only there cannot be queried, or samples wait on the local disk, until they \
                 succeed again."
            }
            Self::MemoryShort => "Memory is short: queries are refused until there is room again.",
            Self::MemoryFull => "Memory is full: queries and samples are refused until there is room again.",
            Self::LocalSpaceShort => {
                "Local space runs out: samples are refused when it is full (--storage.local.size)."
            }
            Self::LocalSpaceFull => "Local space is full: samples are refused until the object store takes what waits.",
        }
    }
}

/// A notice and since when it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What.
    pub notice: Notice,
    /// When it last came.
    pub since: jiff::Timestamp,
}

/// What changed about a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which, and when it came.
    pub standing: Standing,
    /// Whether it stands now.
    pub stands: bool,
}

/// The notices of the process. A cheap handle: clones share them.
#[derive(Debug, Clone)]
pub struct Notices {
    standing: Arc<watch::Sender<Vec<Standing>>>,
    places: Arc<Semaphore>,
}

impl Notices {
    /// None yet, for at most `listeners_max` listeners at once.
    #[must_use]
    pub fn new(listeners_max: usize) -> Self {
        let places = Semaphore::new(listeners_max.min(Semaphore::MAX_PERMITS));
        Self { standing: Arc::new(watch::Sender::new(Vec::new())), places: Arc::new(places) }
    }

    /// It happened, perhaps once more.
    pub fn raise(&self, notice: Notice) {
        self.standing.send_modify(|standing| {
            standing.retain(|known| known.notice != notice);
            standing.push(Standing { notice, since: jiff::Timestamp::now() });
        });
    }

    /// It is over, if it ever was.
    pub fn clear(&self, notice: Notice) {
        self.hold(notice, false);
    }

    /// Whether it is so now: nothing happens to a notice that stands already.
    pub fn hold(&self, notice: Notice, stands: bool) {
        self.standing.send_if_modified(|standing| {
            let stood = standing.iter().any(|known| known.notice == notice);
            if stands && !stood {
                standing.push(Standing { notice, since: jiff::Timestamp::now() });
            } else if !stands {
                standing.retain(|known| known.notice != notice);
            }
            stands != stood
        });
    }

    /// Those that stand, in the order in which they came.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        self.standing.borrow().clone()
    }

    /// Begins to listen; `None` while there are as many listeners as there may be.
    #[must_use]
    pub fn listen(&self) -> Option<Listener> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Listener { standing: self.standing.subscribe(), told: Vec::new(), _place: place })
    }
}

/// Is told of changes, those that stand at its beginning first. Its place is free as soon as it is dropped.
#[derive(Debug)]
pub struct Listener {
    standing: watch::Receiver<Vec<Standing>>,
    told: Vec<Standing>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// What changed, at least one; waits for it. `None` when the process ends and that was told. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Vec<Change>> {
        loop {
            let now = self.standing.borrow_and_update().clone();
            let changes = changes(&self.told, &now);
            self.told = now;
            if !changes.is_empty() {
                return Some(changes);
            }
            if self.told.iter().any(|told| told.notice == Notice::Stopping) {
                return None;
            }
            self.standing.changed().await.ok()?;
        }
    }
}

fn changes(before: &[Standing], now: &[Standing]) -> Vec<Change> {
    let stands = |notice| now.iter().any(|known| known.notice == notice);
    let gone = before.iter().filter(|known| !stands(known.notice));
    let gone = gone.map(|&standing| Change { standing, stands: false });
    let news = now.iter().filter(|known| !before.contains(known));
    gone.chain(news.map(|&standing| Change { standing, stands: true })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(changes: Option<Vec<Change>>) -> Vec<(Notice, bool)> {
        changes.expect("changes").iter().map(|change| (change.standing.notice, change.stands)).collect()
    }

    #[tokio::test]
    async fn a_listener_hears_what_stands_and_then_what_changes() {
        let notices = Notices::new(1);
        notices.raise(Notice::ReloadFailed);
        let mut listener = notices.listen().unwrap();
        assert_eq!(told(listener.next().await), [(Notice::ReloadFailed, true)]);
        notices.hold(Notice::MemoryShort, true);
        notices.clear(Notice::ReloadFailed);
        assert_eq!(told(listener.next().await), [(Notice::ReloadFailed, false), (Notice::MemoryShort, true)]);
        // What came and went meanwhile is no news, and neither is what stays.
        notices.raise(Notice::ReloadFailed);
        notices.clear(Notice::ReloadFailed);
        notices.hold(Notice::MemoryShort, true);
        assert!(futures::FutureExt::now_or_never(listener.next()).is_none());
        notices.raise(Notice::Stopping);
        assert_eq!(told(listener.next().await), [(Notice::Stopping, true)]);
        assert_eq!(listener.next().await, None);
    }

    #[tokio::test]
    async fn what_happens_again_is_told_again() {
        let notices = Notices::new(1);
        notices.raise(Notice::ReloadFailed);
        let first = notices.standing();
        let mut listener = notices.listen().unwrap();
        listener.next().await;
        std::thread::sleep(std::time::Duration::from_millis(1));
        notices.raise(Notice::ReloadFailed);
        assert_eq!(told(listener.next().await), [(Notice::ReloadFailed, true)]);
        let second = notices.standing();
        assert_eq!(second.len(), 1);
        assert!(second[0].since > first[0].since);
    }

    #[test]
    fn listeners_have_places() {
        let notices = Notices::new(2);
        let (first, second) = (notices.listen(), notices.listen());
        assert!(first.is_some() && second.is_some() && notices.listen().is_none());
        drop(first);
        assert!(notices.listen().is_some());
        assert!(Notices::new(0).listen().is_none() && Notices::new(usize::MAX).listen().is_some());
    }
}
