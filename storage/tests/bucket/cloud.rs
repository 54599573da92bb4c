//! What the servers of the tests have in common: objects in memory, and what goes wrong with requests for them.

use super::http::{Answer, Call, bytes, set, text};
use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::bucket::testing::Faults;

/// Objects of one page of a list.
const PAGE: usize = 3;

/// Objects and faults. Clones share them.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) memory: Arc<InMemory>,
    state: Arc<Mutex<(SmallRng, Faults)>>,
}

impl Cloud {
    /// Without objects and faults.
    pub(crate) fn new(seed: u64) -> Self {
        let state = (SmallRng::seed_from_u64(seed), Faults::default());
        Self { memory: Arc::new(InMemory::new()), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state.lock().unwrap().1 = faults;
    }

    /// Waits as long as a request has to, and says whether it is turned away.
    pub(crate) async fn is_turned_away(&self) -> bool {
        let (delay, is_turned_away) = {
            let mut state = self.state.lock().unwrap();
            let faults = state.1;
            (faults.delay_max.mul_f64(state.0.random()), state.0.random::<f64>() < faults.slow_down)
        };
        tokio::time::sleep(delay).await;
        is_turned_away
    }

    /// Whether the answer to a write that happened gets lost: then the client learns of a failure that was none.
    pub(crate) fn is_answer_lost(&self) -> bool {
        self.happens(|faults| faults.lost_answer)
    }

    /// Whether the answer to a read breaks off.
    pub(crate) fn is_cut(&self) -> bool {
        self.happens(|faults| faults.cut_body)
    }

    fn happens(&self, share: impl Fn(&Faults) -> f64) -> bool {
        let mut state = self.state.lock().unwrap();
        let share = share(&state.1);
        state.0.random::<f64>() < share
    }

    /// The answer to a request for an object or for what is known of it, with the headers that all protocols of HTTP have; `None` when
    /// the bytes asked for begin behind its end.
    pub(crate) async fn read(&self, call: &Call, path: &Path) -> Result<Option<Answer>, Error> {
        let meta = self.memory.head(path).await?;
        let mut answer = if call.method == "HEAD" {
            let mut answer = text(200, "");
            set(&mut answer, "content-length", &meta.size.to_string());
            answer
        } else {
            let Some(range) = call.range(meta.size) else { return Ok(None) };
            let wanted = (!range.is_empty()).then(|| GetRange::Bounded(range.clone()));
            let found = self.memory.get_opts(path, GetOptions { range: wanted, ..GetOptions::default() }).await?;
            bytes(call, &found.bytes().await?, range, meta.size, self.is_cut())
        };
        set(&mut answer, "etag", &format!("\"{}\"", meta.e_tag.unwrap_or_default()));
        set(&mut answer, "last-modified", &meta.last_modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        Ok(Some(answer))
    }

    /// Removes an object, which has to be there.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), Error> {
        self.memory.head(path).await?;
        self.memory.delete(path).await
    }

    /// A page of the objects whose names begin with `prefix` and of which `is_wanted` holds, by name; and whether more follow.
    pub(crate) async fn page(
        &self,
        prefix: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(Vec<ObjectMeta>, bool), Error> {
        let mut found = Vec::new();
        let mut objects = self.memory.list(None);
        while let Some(object) = objects.next().await {
            let object = object?;
            if object.location.as_ref().starts_with(prefix) && is_wanted(object.location.as_ref()) {
                found.push(object);
            }
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        let is_truncated = found.len() > PAGE;
        found.truncate(PAGE);
        Ok((found, is_truncated))
    }
}

/// Faults of a bad day.
pub(crate) fn bad_day() -> Faults {
    Faults {
        slow_down: 0.2,
        lost_answer: 0.1,
        cut_body: 0.15,
        delay_max: Duration::from_millis(3),
        ..Faults::default()
    }
}
