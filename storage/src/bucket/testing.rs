//! A store that fails as stores behind a network do, for tests.
//!
//! Every failure is drawn from a seed, so a failed test can be repeated. Several [`FaultyStore`]s over one store are several
//! processes, each with a network of its own.

use super::BucketStore;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often what goes wrong. Shares are from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Share of requests that are answered `503 SlowDown` and do nothing.
    pub slow_down: f64,
    /// Share of writes that happen and whose answer is lost.
    pub lost_answer: f64,
    /// Share of writes that are reported as failed and happen later, within [`Self::delay_max`].
    pub late_write: f64,
    /// Share of reads whose answer breaks off.
    pub cut_body: f64,
    /// Longest time before a request is looked at.
    pub delay_max: Duration,
    /// Time that every request takes beside that.
    pub latency: Duration,
}

/// One process's view of a store. Clones share it.
#[derive(Clone)]
pub struct FaultyStore {
    inner: BucketStore,
    state: Arc<Mutex<State>>,
}

struct State {
    random: SmallRng,
    faults: Faults,
    outage: bool,
    /// Requests that may still be made before nothing works any more.
    left: Option<u64>,
    /// Objects that may still be written before there is no space.
    room: Option<u64>,
    requests: u64,
    /// The longest chain of reads that ended, each begun when the one before it had ended.
    round_trips: u64,
}

/// What happens to one request.
struct Fate {
    delay: Duration,
    kind: FateKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FateKind {
    Works,
    SlowDown,
    LostAnswer,
    LateWrite(Duration),
    Cut,
    Unreachable,
}

impl FaultyStore {
    /// Over another store, without faults at first.
    #[must_use]
    pub fn new(inner: BucketStore, seed: u64) -> Self {
        let state = State {
            random: SmallRng::seed_from_u64(seed),
            faults: Faults::default(),
            outage: false,
            left: None,
            room: None,
            requests: 0,
            round_trips: 0,
        };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// As a bucket takes it.
    #[must_use]
    pub fn store(&self) -> BucketStore {
        let store = Arc::new(self.clone());
        let parts = self.inner.parts.is_some().then(|| store.clone() as Arc<dyn MultipartStore>);
        BucketStore { objects: store, parts, local: None }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Begins or ends a time in which the store cannot be reached.
    pub fn set_outage(&self, outage: bool) {
        self.state.lock().outage = outage;
    }

    /// How many further objects there is space for, as in a directory on a disk that gets full; `None`: as many as anybody
    /// wants.
    pub fn set_room(&self, objects: Option<u64>) {
        self.state.lock().room = objects;
    }

    /// After so many further requests nothing works any more, as for a process that was killed; the last one happens and its
    /// answer is lost.
    pub fn crash_after(&self, requests: u64) {
        self.state.lock().left = Some(requests);
    }

    /// The objects as the next process finds them, over a network of its own.
    #[must_use]
    pub fn revive(&self) -> Self {
        Self::new(self.inner.clone(), 0)
    }

    /// Whether that has happened.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.state.lock().left == Some(0)
    }

    /// Requests so far, failed ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.lock().requests
    }

    /// How often a read was begun after the end of another one of this count, one after the other: what a reader waits for.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.state.lock().round_trips
    }

    /// Begins to count round trips anew.
    pub fn forget_round_trips(&self) {
        self.state.lock().round_trips = 0;
    }

    fn end_turn(&self, turn: u64) {
        let mut state = self.state.lock();
        state.round_trips = state.round_trips.max(turn);
    }

    fn fate(&self, write: bool) -> Fate {
        let mut state = self.state.lock();
        state.requests += 1;
        let faults = state.faults;
        let mut delay = || faults.latency + faults.delay_max.mul_f64(state.random.random::<f64>());
        let (delay, late) = (delay(), delay());
        let mut hit = |share: f64| state.random.random::<f64>() < share;
        let (slow, lost, later, cut) =
            (hit(faults.slow_down), hit(faults.lost_answer), hit(faults.late_write), hit(faults.cut_body));
        if let Some(left) = &mut state.left {
            let before = *left;
            *left = left.saturating_sub(1);
            match before {
                0 => return Fate { delay, kind: FateKind::Unreachable },
                1 => return Fate { delay, kind: FateKind::LostAnswer },
                _ => {}
            }
        }
        let kind = match (state.outage, slow, write) {
            (true, _, _) => FateKind::Unreachable,
            (_, true, _) => FateKind::SlowDown,
            (_, _, true) if later => FateKind::LateWrite(late),
            (_, _, true) if lost => FateKind::LostAnswer,
            (_, _, false) if cut => FateKind::Cut,
            _ => FateKind::Works,
        };
        Fate { delay, kind }
    }

    /// Takes the space for one object.
    fn take_room(&self) -> Result<()> {
        match &mut self.state.lock().room {
            Some(0) => {
                let source = Box::new(io::Error::from_raw_os_error(libc::ENOSPC));
                Err(Error::Generic { store: "faulty", source })
            }
            Some(room) => {
                *room -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Does a write as its fate wants it.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let fate = self.fate(true);
        tokio::time::sleep(fate.delay).await;
        match fate.kind {
            FateKind::Works | FateKind::Cut => work.await,
            FateKind::SlowDown => Err(failure("503 SlowDown")),
            FateKind::Unreachable => Err(failure("the store cannot be reached")),
            FateKind::LostAnswer => {
                let _ = work.await;
                Err(failure("the connection was reset"))
            }
            FateKind::LateWrite(late) => {
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    let _ = work.await;
                });
                Err(failure("the connection was reset"))
            }
        }
    }

    /// Waits for a read's turn; `true` when its answer shall break off.
    async fn read(&self) -> Result<bool> {
        let fate = self.fate(false);
        tokio::time::sleep(fate.delay).await;
        match fate.kind {
            FateKind::Works | FateKind::LateWrite(_) => Ok(false),
            FateKind::Cut => Ok(true),
            FateKind::SlowDown => Err(failure("503 SlowDown")),
            FateKind::LostAnswer | FateKind::Unreachable => Err(failure("the store cannot be reached")),
        }
    }

    fn parts(&self) -> Result<Arc<dyn MultipartStore>> {
        self.inner.parts.clone().ok_or_else(|| failure("the store below has no parts"))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Injected(&'static str);

fn failure(what: &'static str) -> Error {
    let source = HttpError::new(HttpErrorKind::Unknown, Injected(what));
    Error::Generic { store: "faulty", source: Box::new(source) }
}

/// Half of an answer, with or without a word about it.
async fn cut(answer: GetResult) -> Result<GetResult> {
    let (range, meta, attributes) = (answer.range.clone(), answer.meta.clone(), answer.attributes.clone());
    let extensions = answer.extensions.clone();
    let bytes = answer.bytes().await?;
    let half: Result<Bytes> = Ok(bytes.slice(..bytes.len() / 2));
    let silent = bytes.len() % 2 == 0;
    let mut stream = vec![half];
    if !silent {
        stream.push(Err(failure("the connection was reset")));
    }
    let payload = GetResultPayload::Stream(futures::stream::iter(stream).boxed());
    Ok(GetResult { payload, meta, range, attributes, extensions })
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.take_room()?;
        let (store, location) = (self.inner.objects.clone(), location.clone());
        self.write(async move { store.put_opts(&location, payload, options).await }).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (store, location) = (self.inner.objects.clone(), location.clone());
        self.write(async move { store.put_multipart_opts(&location, options).await }).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let turn = self.state.lock().round_trips + 1;
        let is_cut = self.read().await?;
        let answer = self.inner.objects.get_opts(location, options).await?;
        self.end_turn(turn);
        if is_cut && !is_head { cut(answer).await } else { Ok(answer) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                let (store, path) = (this.inner.objects.clone(), location.clone());
                let work = async move {
                    let one = futures::stream::once(async move { Ok(path) }).boxed();
                    store.delete_stream(one).next().await.transpose()
                };
                this.write(work).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            match this.read().await {
                Ok(false) => this.inner.objects.list(prefix.as_ref()),
                Ok(true) => {
                    let broken = futures::stream::once(async { Err(failure("the connection was reset")) });
                    this.inner.objects.list(prefix.as_ref()).take(1).chain(broken).boxed()
                }
                Err(error) => futures::stream::once(async { Err(error) }).boxed(),
            }
        };
        futures::stream::once(listing).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read().await?;
        self.inner.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (store, from, to) = (self.inner.objects.clone(), from.clone(), to.clone());
        self.write(async move { store.copy_opts(&from, &to, options).await }).await
    }
}

#[async_trait]
impl MultipartStore for FaultyStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let (store, path) = (self.parts()?, path.clone());
        self.write(async move { store.create_multipart(&path).await }).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, index: usize, data: PutPayload) -> Result<PartId> {
        self.take_room()?;
        let (store, path, id) = (self.parts()?, path.clone(), id.clone());
        self.write(async move { store.put_part(&path, &id, index, data).await }).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let (store, path, id) = (self.parts()?, path.clone(), id.clone());
        self.write(async move { store.complete_multipart(&path, &id, parts).await }).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let (store, path, id) = (self.parts()?, path.clone(), id.clone());
        self.write(async move { store.abort_multipart(&path, &id).await }).await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner.objects)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").finish_non_exhaustive()
    }
}
