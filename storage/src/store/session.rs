//! A store as one query reads it: who is charged for the memory, and what was fetched before it is needed.
//!
//! Whoever knows what a query will select says so before it is evaluated; all of it is fetched together, and whoever evaluates the
//! query afterwards finds it here and does not wait. Only what no cache has takes a thread that may wait. What was not foreseen is
//! fetched when it is read.

use super::block_part::{BlockPart, Wanted};
use super::tiered::{Tiered, divide};
use super::{Io, Store, StoreView};
use crate::account::Account;
use crate::block::read::{Block, ReadError};
use crate::select::TimeRange;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use model::bucket::{BucketFields, BucketUse};
use model::matcher::Matcher;
use parking_lot::Mutex;
use std::cell::OnceCell;
use std::sync::Arc;

/// Blocks that are looked at beside each other; requests have a bound of their own.
const BLOCKS_AT_ONCE: usize = 64;

/// A selection that a query will make.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreseen {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// Samples of this time.
    pub range: TimeRange,
    /// More series are an error.
    pub series_max: usize,
    /// Which buckets may stand for samples; `None` if none may.
    pub buckets: Option<BucketUse>,
}

/// See the head of the file. A cheap handle.
#[derive(Clone)]
pub struct StoreSession {
    store: Store,
    session: Arc<Session>,
}

/// What is left of fetching. Dropping it gives up.
#[must_use = "fetches nothing more by itself"]
pub struct Fetching {
    io: Io,
    rest: BoxFuture<'static, ()>,
}

impl Fetching {
    /// Blocks this thread until all is here or has failed.
    pub fn wait(self) {
        self.io.wait(self.rest);
    }
}

/// What the selections of one query share.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) account: Account,
    parts: Mutex<Vec<(PartKey, Arc<BlockPart>)>>,
}

/// What a part of a block is the answer to.
#[derive(Debug, Clone, PartialEq)]
struct PartKey {
    block: u64,
    matchers: Vec<Matcher>,
    range: TimeRange,
}

impl Session {
    /// What was fetched of a block for a selection.
    pub(crate) fn part(&self, block: &Block, wanted: &Wanted<'_>) -> Option<Arc<BlockPart>> {
        let id = block.id();
        let is_it = |key: &PartKey| key.block == id && key.range == wanted.range && key.matchers == wanted.matchers;
        let parts = self.parts.lock();
        let found = parts.iter().find(|(key, _)| !wanted.first && is_it(key));
        found.map(|(_, part)| Arc::clone(part)).filter(|part| part.series.len() <= wanted.series_max)
    }
}

/// A block and what is to be fetched of it.
struct Order {
    block: Block,
    key: PartKey,
    series_max: usize,
    samples: bool,
    buckets: Vec<BucketFields>,
}

impl StoreSession {
    /// What is stored now.
    #[must_use]
    pub fn view(&self) -> StoreView {
        self.store.view_for(&self.session)
    }

    /// Gets ready what the selections need of blocks, all of it together, as far as it is cached; requests for the rest are made,
    /// and what is returned waits for them. Does not wait. Failures are left to whoever makes the selections.
    #[must_use = "nothing that no cache has comes by itself"]
    pub fn prepare(&self, foreseen: &[Foreseen]) -> Option<Fetching> {
        let orders = self.orders(foreseen);
        if orders.is_empty() {
            return None;
        }
        let parts: Vec<_> = orders.into_iter().map(|order| order.fetch(Arc::clone(&self.session))).collect();
        let fetch = async move {
            let fetched = futures::stream::iter(parts);
            fetched.buffer_unordered(BLOCKS_AT_ONCE).for_each(|_| std::future::ready(())).await;
        };
        let io = &self.store.inner.shared.io;
        io.begin(fetch.boxed()).map(|rest| Fetching { io: io.clone(), rest })
    }

    /// How many series blocks have for the selections by these matchers that were got ready, all together; `None` if none was.
    #[must_use]
    pub fn prepared_series(&self, matchers: &[Matcher]) -> Option<usize> {
        let parts = self.session.parts.lock();
        let these = parts.iter().filter(|(key, _)| key.matchers == matchers);
        these.map(|(_, part)| part.series.len()).reduce(usize::saturating_add)
    }

    /// What has to be fetched of which block, each part of a block once.
    fn orders(&self, foreseen: &[Foreseen]) -> Vec<Order> {
        // The head first, as always.
        let (head, pin, days) = (self.store.engine().head(), self.store.engine().pin(), OnceCell::new());
        let late = || days.get_or_init(|| head.float_days(pin.visible())).clone();
        let view = self.store.inner.shared.view();
        let mut orders: Vec<Order> = Vec::new();
        for Foreseen { matchers, range, series_max, buckets } in foreseen {
            let divided = buckets.as_ref().and_then(|buckets| divide(&view, late, buckets, *range));
            let (range, (blocks, tiers)) = match divided {
                Some((coverage, range)) => (range, Tiered::covering(&view, range, coverage)),
                None => (*range, Tiered::none(&view, *range)),
            };
            let fields = buckets.map(|buckets| buckets.fields);
            for (number, block) in blocks.into_iter().enumerate() {
                let is_tier = number >= tiers.raw_blocks();
                let samples = !is_tier && tiers.leaves_samples(range, block.meta());
                let key = PartKey { block: block.id(), matchers: matchers.clone(), range };
                let order = match orders.iter().position(|order| order.key == key) {
                    Some(at) => &mut orders[at],
                    None => {
                        let block = block.charged_to(&self.session.account);
                        let (samples, buckets) = (false, Vec::new());
                        orders.push(Order { block, key, series_max: *series_max, samples, buckets });
                        let last = orders.len() - 1;
                        &mut orders[last]
                    }
                };
                order.samples |= samples;
                order.buckets.extend(fields.filter(|fields| is_tier && !order.buckets.contains(fields)));
            }
        }
        orders
    }
}

impl Order {
    async fn fetch(self, session: Arc<Session>) -> Result<(), ReadError> {
        let Self { block, key, series_max, samples, buckets } = self;
        let wanted = Wanted { matchers: &key.matchers, range: key.range, series_max, first: false };
        let part = Arc::new(BlockPart::select(&block, &wanted).await?);
        session.parts.lock().push((key, Arc::clone(&part)));
        if samples {
            part.samples().await?;
        }
        for fields in buckets {
            part.buckets(fields).await?;
        }
        Ok(())
    }
}

impl Store {
    /// The store for one query, whose memory is charged to `account`.
    #[must_use]
    pub fn session(&self, account: Account) -> StoreSession {
        let session = Session { account, parts: Mutex::default() };
        StoreSession { store: self.clone(), session: Arc::new(session) }
    }
}
