//! The tenants of the process: which there are, how they come into being, and what they are told together.
//!
//! `anonymous` is always there and has the rule files and the own metrics. With `--tenants.enabled` others are opened when a
//! request names them, and at the start those that have data: in the directory, in the bucket, or rule files. Invariant: a tenant
//! is opened once, and none after [`Tenants::stop_opening`].

use super::common::{Common, TENANTS};
use super::plan::Checked;
use super::reload::Reloader;
use super::store::report_opened;
use super::tenant::{Given, Tenant};
use crate::http::tenancy::{TenantRefused, TenantRoutes};
use crate::rules::load::Loaded;
use crate::scrape::self_scrape::TargetStatus;
use axum::Router;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use model::tenant::TenantId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use storage::block::meta::tenant_of_part;
use storage::store::Store;
use storage::wal::replay::ReplayProgress;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A tenant that could not be opened is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The bucket that could not be listed is asked again after this.
const LIST_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// So many are opened at once at the start: each replays its log on all cores.
const OPENED_AT_ONCE: usize = 4;

/// All tenants.
pub(super) struct Tenants {
    common: Common,
    first: Arc<Tenant>,
    state: RwLock<State>,
    reloader: Arc<Reloader>,
    /// Held while a configuration is put in force or a tenant begins, so that each gets the newest.
    applying: tokio::sync::Mutex<()>,
    /// Rules of tenants that are not open yet, as they were when the configuration was loaded.
    rules: Mutex<BTreeMap<TenantId, Loaded>>,
    /// Whatever opens a tenant or loads the configuration.
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    /// `anonymous` included.
    open: BTreeMap<TenantId, Arc<Tenant>>,
    opening: BTreeMap<TenantId, Arc<Opening>>,
    is_closed: bool,
}

/// When and why opening a tenant failed last. Held by whoever opens it.
type Opening = tokio::sync::Mutex<Option<(Instant, String)>>;

/// Whether nobody opens the tenant or waits for that, and it may be tried again at once.
fn is_over(opening: &Arc<Opening>) -> bool {
    // Handles are made under the lock of the state only, as this is asked.
    Arc::strong_count(opening) == 1
        && opening.try_lock().is_ok_and(|failed| failed.as_ref().is_none_or(|(at, _)| at.elapsed() >= AGAIN_AFTER))
}

impl Tenants {
    /// The tenant `anonymous`, over its open store, to whom `self_scrape` belongs.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) async fn start(
        common: Common,
        store: Store,
        self_scrape: Option<Arc<Mutex<TargetStatus>>>,
    ) -> Result<Arc<Self>, String> {
        let reloader = Arc::new(Reloader::new(common.early.notices.clone()));
        let given = Given { store, reload: reloader.clone(), self_scrape };
        let first = Arc::new(Tenant::start(&common, TenantId::anonymous(), given).await?);
        let state = State { open: [(TenantId::anonymous(), first.clone())].into(), ..State::default() };
        let (state, applying) = (RwLock::new(state), tokio::sync::Mutex::default());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let reload = reloader.clone();
        let rules = Mutex::default();
        let tenants = Arc::new(Self { common, first, state, reloader, applying, rules, tasks, stop });
        reload.reloads(&tenants);
        Ok(tenants)
    }

    /// What they have in common.
    pub(super) fn common(&self) -> &Common {
        &self.common
    }

    /// The tenant `anonymous`.
    pub(super) fn first(&self) -> &Tenant {
        &self.first
    }

    /// Who loads the configuration again.
    pub(super) fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// For what has to end before they do.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Those that are open.
    pub(super) fn all(&self) -> Vec<Arc<Tenant>> {
        self.read().open.values().cloned().collect()
    }

    /// Begins with the configuration of the start.
    pub(super) async fn begin(&self, checked: Checked) {
        checked.warn(&self.common.flags);
        self.first.load_configured().await;
        let _applying = self.applying.lock().await;
        let Checked { config, mut rules, .. } = checked;
        let loaded = rules.remove(self.first.id()).unwrap_or_default();
        *self.rules() = rules;
        self.first.begin(&self.common, &config, loaded).await;
    }

    /// Puts a checked configuration in force for all, and opens those that have rule files.
    pub(super) async fn apply(self: &Arc<Self>, checked: Checked) {
        checked.warn(&self.common.flags);
        let applying = self.applying.lock().await;
        let Checked { config, mut rules, .. } = checked;
        if self.common.config.load().object_store != config.object_store {
            tracing::warn!("object_store changed: it takes effect at the next start");
        }
        self.common.config.store(Arc::new(config.clone()));
        let all = self.all();
        let apply = all.iter().map(|tenant| {
            let loaded = rules.remove(tenant.id()).unwrap_or_default();
            tenant.apply(&self.common, &config, loaded)
        });
        join_all(apply.collect::<Vec<_>>()).await;
        let with_rules = rules.iter().filter(|(_, loaded)| !loaded.groups.is_empty());
        let with_rules: Vec<TenantId> = with_rules.map(|(id, _)| id.clone()).collect();
        *self.rules() = rules;
        drop(applying);
        self.open_all(with_rules).await;
    }

    /// Begins to open those that have data here or in the bucket, or rule files.
    pub(super) fn begin_opening(self: &Arc<Self>) {
        let tenants = Arc::clone(self);
        self.tasks.spawn(async move { tenants.stop.clone().run_until_cancelled(tenants.open_known()).await });
    }

    async fn open_known(self: &Arc<Self>) {
        let has_rules = |(id, loaded): (&TenantId, &Loaded)| (!loaded.groups.is_empty()).then(|| id.clone());
        let mut here: BTreeSet<TenantId> = self.rules().iter().filter_map(has_rules).collect();
        here.extend(self.in_directory());
        self.open_all(here).await;
        let mut was_told = false;
        loop {
            let store = self.first.store().clone();
            let found = tokio::task::spawn_blocking(move || store.tenants_of_bucket()).await;
            match found.map_err(|panic| panic.to_string()).and_then(|found| found.map_err(|error| error.to_line())) {
                Ok(found) => {
                    let tenants: Vec<TenantId> = found.iter().filter_map(|name| name.parse().ok()).collect();
                    return self.open_all(tenants).await;
                }
                Err(error) if !was_told => {
                    tracing::warn!(error, "tenants of whom only the bucket has anything wait for it, or for a request");
                }
                Err(_) => {}
            }
            was_told = true;
            tokio::time::sleep(LIST_AGAIN_AFTER).await;
        }
    }

    /// Opens some of them; who cannot be opened is tried again until it is.
    async fn open_all(self: &Arc<Self>, tenants: impl IntoIterator<Item = TenantId>) {
        let open = |id: TenantId| async move { (self.open(id.clone()).await, id) };
        let mut opened = stream::iter(tenants).map(open).buffer_unordered(OPENED_AT_ONCE);
        while let Some((outcome, id)) = opened.next().await {
            let Err(refused) = outcome else { continue };
            tracing::error!(tenant = %id, %refused, "a tenant is not open: it is tried again");
            let tenants = Arc::clone(self);
            self.tasks
                .spawn(async move { tenants.stop.clone().run_until_cancelled(tenants.open_in_the_end(id)).await });
        }
    }

    async fn open_in_the_end(self: &Arc<Self>, id: TenantId) {
        loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            if self.open(id.clone()).await.is_ok() {
                return;
            }
        }
    }

    /// Says that there is data of others, who are not asked while tenancy is off.
    pub(super) fn warn_of_others(&self) {
        let others = self.in_directory().len();
        if others > 0 {
            tracing::warn!(others, "there is data of other tenants, which is not served without --tenants.enabled");
        }
    }

    /// Tenants that have a directory here.
    fn in_directory(&self) -> BTreeSet<TenantId> {
        let path = self.common.flags.storage_path.join(TENANTS);
        let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        let tenant = |entry: std::fs::DirEntry| tenant_of_part(entry.file_name().to_str()?)?.parse().ok();
        entries.filter_map(tenant).collect()
    }

    /// The tenant, opened if it is not yet.
    async fn open(self: &Arc<Self>, id: TenantId) -> Result<Arc<Tenant>, TenantRefused> {
        let opening = {
            let mut state = self.write();
            if let Some(tenant) = state.open.get(&id) {
                return Ok(Arc::clone(tenant));
            }
            if state.is_closed {
                return Err(TenantRefused::Unavailable { why: "the process stops".into() });
            }
            let max = self.common.flags.tenants_max;
            if !state.opening.contains_key(&id) {
                state.opening.retain(|_, opening| !is_over(opening));
                if state.open.len() + state.opening.len() >= max {
                    return Err(TenantRefused::TooMany { max });
                }
            }
            Arc::clone(state.opening.entry(id.clone()).or_default())
        };
        let mut failed = opening.lock_owned().await;
        if let Some(tenant) = self.read().open.get(&id) {
            return Ok(Arc::clone(tenant));
        }
        if let Some((_, why)) = failed.as_ref().filter(|(at, _)| at.elapsed() < AGAIN_AFTER) {
            return Err(TenantRefused::Unavailable { why: why.clone() });
        }
        // Whoever asked may go away: what was begun is finished all the same, and nobody else begins it meanwhile.
        let tenants = Arc::clone(self);
        let opened = self.tasks.spawn(async move {
            let opened = tenants.open_now(id.clone()).await;
            if let Err(why) = &opened {
                tracing::warn!(tenant = %id, why, "a tenant cannot be opened");
                *failed = Some((Instant::now(), why.clone()));
            }
            opened
        });
        let opened = opened.await.unwrap_or_else(|panic| Err(panic.to_string()));
        opened.map_err(|why| TenantRefused::Unavailable { why })
    }

    async fn open_now(self: Arc<Self>, id: TenantId) -> Result<Arc<Tenant>, String> {
        let options = self.common.store_options(&id)?;
        let first = self.first.store().clone();
        let open = move || first.open_beside(options, &ReplayProgress::default());
        let store = tokio::task::spawn_blocking(open).await.map_err(|panic| panic.to_string())?;
        let store = store.map_err(|error| format!("open storage of tenant {id}: {}", error.to_line()))?;
        report_opened(&store);
        let given = Given { store, reload: self.reloader.clone(), self_scrape: None };
        let tenant = Arc::new(Tenant::start(&self.common, id.clone(), given).await?);
        let mut is_closed = self.read().is_closed;
        if !is_closed {
            tenant.load_configured().await;
            let _applying = self.applying.lock().await;
            let loaded = self.rules().remove(&id).unwrap_or_default();
            tenant.begin(&self.common, &self.common.config.load_full(), loaded).await;
            is_closed = self.enter(&tenant);
        }
        if is_closed {
            tenant.shutdown().await?;
            return Err("the process stops".into());
        }
        tracing::info!(tenant = %id, "a tenant is open");
        Ok(tenant)
    }

    /// Lets requests find a tenant, unless the process stops, which it returns.
    fn enter(&self, tenant: &Arc<Tenant>) -> bool {
        let mut state = self.write();
        state.opening.remove(tenant.id());
        if !state.is_closed {
            state.open.insert(tenant.id().clone(), Arc::clone(tenant));
        }
        state.is_closed
    }

    /// No tenant is opened from now on.
    pub(super) fn stop_opening(&self) {
        self.write().is_closed = true;
    }

    /// Ends all of them at once.
    pub(super) async fn shutdown(&self) -> Result<(), String> {
        let open = {
            let mut state = self.write();
            state.is_closed = true;
            std::mem::take(&mut state.open)
        };
        self.stop.cancel();
        self.tasks.close();
        let ended = join_all(open.values().map(|tenant| tenant.shutdown())).await;
        // Who is opened meanwhile ends by itself.
        self.tasks.wait().await;
        ended.into_iter().collect()
    }

    fn rules(&self) -> MutexGuard<'_, BTreeMap<TenantId, Loaded>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tenants as requests find them.
pub(super) struct ByRequest(pub(super) Arc<Tenants>);

impl TenantRoutes for ByRequest {
    fn open(&self, tenant: &TenantId) -> Option<Router> {
        Some(self.0.read().open.get(tenant)?.router())
    }

    fn opened(&self, tenant: TenantId) -> BoxFuture<'_, Result<Router, TenantRefused>> {
        async move { Ok(self.0.open(tenant).await?.router()) }.boxed()
    }
}
