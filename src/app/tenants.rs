//! The tenants of the process: which there are, how they come into being, and what they are told together.
//!
//! `anonymous` is always there and has the rule files and the own metrics. With `--tenants.enabled` others are opened when a
//! request names them, and at the start those that have data: in the directory, in the bucket, or rule files. Invariant: a tenant
//! is opened once, and never after [`Tenants::shutdown`] began.

use super::common::{Common, TENANTS};
use super::load;
use super::plan::Checked;
use super::reload::Reloader;
use super::tenant::{Given, Tenant};
use crate::config::Config;
use crate::http::tenancy::{TenantRefused, TenantRoutes};
use crate::rules::load::Loaded;
use crate::scrape::self_scrape::TargetStatus;
use axum::Router;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use model::tenant::TenantId;
use percent_encoding::percent_decode_str;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use storage::store::Store;
use storage::wal::replay::ReplayProgress;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A tenant that could not be opened is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

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
    /// Whatever opens a tenant.
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

/// One at a time opens a tenant. When and why it failed last.
#[derive(Default)]
struct Opening(tokio::sync::Mutex<Option<(Instant, String)>>);

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
        let tenants = Arc::new(Self { common, first, state, reloader, applying, tasks, stop });
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

    /// Those that are open.
    pub(super) fn all(&self) -> Vec<Arc<Tenant>> {
        self.read().open.values().cloned().collect()
    }

    /// Begins with the configuration of the start.
    pub(super) async fn begin(&self, checked: Checked) {
        checked.warn(&self.common.flags);
        let _applying = self.applying.lock().await;
        let Checked { config, mut rules } = checked;
        let loaded = rules.remove(self.first.id()).unwrap_or_default();
        self.first.begin(&self.common, &config, loaded).await;
    }

    /// Puts a checked configuration in force for all, and opens those that have rule files.
    pub(super) async fn apply(self: &Arc<Self>, checked: Checked) {
        checked.warn(&self.common.flags);
        let applying = self.applying.lock().await;
        let Checked { config, mut rules } = checked;
        if self.common.config.load().object_store != config.object_store {
            tracing::warn!("object_store changed: it takes effect at the next start");
        }
        self.common.config.store(Arc::new(config.clone()));
        for tenant in self.all() {
            let loaded = rules.remove(tenant.id()).unwrap_or_default();
            tenant.apply(&self.common, &config, loaded).await;
        }
        drop(applying);
        if self.common.flags.tenants_enabled {
            let with_rules = rules.into_iter().filter(|(_, loaded)| !loaded.groups.is_empty());
            join_all(with_rules.map(|(id, _)| self.open(id))).await;
        }
    }

    /// Begins to open those that have data here or in the bucket, or rule files.
    pub(super) fn begin_opening(self: &Arc<Self>) {
        let tenants = Arc::clone(self);
        self.tasks.spawn(async move { tenants.stop.clone().run_until_cancelled(tenants.open_known()).await });
    }

    /// Who cannot be opened is tried again.
    async fn open_known(self: &Arc<Self>) {
        let mut known = self.in_directory();
        let store = self.first.store().clone();
        match tokio::task::spawn_blocking(move || store.tenants_of_bucket()).await {
            Ok(Ok(tenants)) => known.extend(tenants.iter().filter_map(|name| name.parse().ok())),
            Ok(Err(error)) => {
                let error = error.to_line();
                tracing::warn!(
                    error,
                    "tenants of whom only the bucket has anything are opened when a request names them"
                );
            }
            Err(panic) => tracing::error!(%panic, "the tenants of the bucket are not known"),
        }
        let config = self.common.config.load_full();
        let with_rules = config.tenants.iter().filter(|(_, tenant)| !tenant.rule_files.is_empty());
        known.extend(with_rules.filter_map(|(name, _)| name.parse().ok()));
        let open = |id: TenantId| async move { (self.open(id.clone()).await, id) };
        let mut opened = stream::iter(known).map(open).buffer_unordered(OPENED_AT_ONCE);
        while let Some((outcome, id)) = opened.next().await {
            let Err(refused) = outcome else { continue };
            tracing::error!(tenant = %id, %refused, "a tenant cannot be opened");
            let tenants = Arc::clone(self);
            self.tasks
                .spawn(async move { tenants.stop.clone().run_until_cancelled(tenants.open_in_the_end(id)).await });
        }
    }

    async fn open_in_the_end(self: &Arc<Self>, id: TenantId) {
        loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            match self.open(id.clone()).await {
                Ok(_) | Err(TenantRefused::TooMany { .. }) => return,
                Err(TenantRefused::Unavailable { .. }) => {}
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
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            percent_decode_str(&name).decode_utf8().ok()?.parse().ok()
        };
        entries.filter_map(name).collect()
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
            if !state.opening.contains_key(&id) && state.open.len() + state.opening.len() >= max {
                return Err(TenantRefused::TooMany { max });
            }
            Arc::clone(state.opening.entry(id.clone()).or_default())
        };
        let mut failed = opening.0.lock().await;
        if let Some(tenant) = self.read().open.get(&id) {
            return Ok(Arc::clone(tenant));
        }
        if let Some((_, why)) = failed.as_ref().filter(|(at, _)| at.elapsed() < AGAIN_AFTER) {
            return Err(TenantRefused::Unavailable { why: why.clone() });
        }
        // Whoever asked may go away: what was begun is finished all the same.
        let (tenants, wanted) = (Arc::clone(self), id.clone());
        let opened = self.tasks.spawn(async move { tenants.open_now(wanted).await }).await;
        opened.unwrap_or_else(|panic| Err(panic.to_string())).map_err(|why| {
            *failed = Some((Instant::now(), why.clone()));
            TenantRefused::Unavailable { why }
        })
    }

    async fn open_now(self: Arc<Self>, id: TenantId) -> Result<Arc<Tenant>, String> {
        let options = self.common.store_options(&id)?;
        let first = self.first.store().clone();
        let open = move || first.open_beside(options, &ReplayProgress::default());
        let store = tokio::task::spawn_blocking(open).await.map_err(|panic| panic.to_string())?;
        let store = store.map_err(|error| format!("open storage of tenant {id}: {}", error.to_line()))?;
        let given = Given { store, reload: self.reloader.clone(), self_scrape: None };
        let tenant = Arc::new(Tenant::start(&self.common, id.clone(), given).await?);
        let applying = self.applying.lock().await;
        let config = self.common.config.load_full();
        let loaded = self.rules_of(&config, &id).await;
        tenant.begin(&self.common, &config, loaded).await;
        let is_closed = self.enter(&tenant);
        drop(applying);
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

    /// The rules that the configuration gives to a tenant. They were valid when it was loaded.
    async fn rules_of(&self, config: &Arc<Config>, id: &TenantId) -> Loaded {
        let Common { flags, features, .. } = &self.common;
        let (config, file, parse, tenant) =
            (Arc::clone(config), flags.config_file.clone(), features.parse.clone(), id.clone());
        let load = move || load::rules(&config, file.as_deref(), &parse, &tenant);
        match tokio::task::spawn_blocking(load).await.map_err(|panic| panic.to_string()).flatten() {
            Ok(loaded) => loaded,
            Err(problem) => {
                tracing::error!(problem, tenant = %id, "its rule files changed and are not valid: it has none of their rules");
                Loaded::default()
            }
        }
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
