//! Puts the parts of the process together, and takes them apart at the end.

use super::common::Common;
use super::plan::Plan;
use super::room::watch;
use super::tenants::{ByRequest, Tenants};
use crate::config::{Config, ServeFlags};
use crate::http::readiness::Phase;
use crate::http::state::{ConfigReload, EarlyState};
use crate::http::{exposition, tenancy};
use crate::ingest::{Ingest, OwnSample};
use crate::runtime::notices::Notice;
use crate::scrape::self_scrape::{SelfScrape, Sink, TargetStatus};
use crate::telemetry::blocks::BucketCollector;
use crate::telemetry::reload::ReloadCollector;
use axum::Router;
use model::labels::Labels;
use model::metadata::Metadata;
use prometheus_client::registry::Registry;
use promql::value::SampleValue;
use std::sync::{Arc, Mutex};
use storage::store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The parts of a process that answers.
pub(super) struct Parts {
    tenants: Arc<Tenants>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Parts {
    /// Starts everything over the open store of the tenant `anonymous`.
    pub(super) async fn start(flags: &ServeFlags, plan: Plan, early: EarlyState, store: Store) -> Result<Self, String> {
        let common = Common::start(flags, &plan, early.clone())?;
        let scrape = &plan.checked.config.self_scrape;
        let status = scrape.enabled.then(|| Arc::new(Mutex::new(target_status(flags, &plan.checked.config))));
        let tenants = Tenants::start(common, store.clone(), status.clone()).await?;

        let mut registry = Registry::default();
        tenants.common().register(&mut registry);
        registry.register_collector(Box::new(BucketCollector::new(store.clone())));
        registry.register_collector(Box::new(ReloadCollector::new(tenants.reloader().clone())));
        early.registries.set_process(registry);

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(watch(tenants.clone(), stop.clone()));
        tasks.spawn(super::store::watch(store, early.notices.clone(), stop.clone()));
        if let Some(status) = status {
            let (registries, prometheus_names) = (early.registries.clone(), flags.prometheus_metric_names);
            let page = Arc::new(move || exposition::page(&registries, prometheus_names).unwrap_or_default());
            let sink = OwnSamples(tenants.first().ingest().clone());
            tasks.spawn(SelfScrape::new(sink, page, status).run(stop.clone()));
        }
        early.readiness.set(Phase::Ready);
        tenants.begin(plan.checked).await;
        if flags.tenants_enabled {
            tenants.begin_opening();
        } else {
            tenants.warn_of_others();
        }
        Ok(Self { tenants, tasks, stop })
    }

    /// All routes.
    pub(super) fn router(&self) -> Router {
        let first = self.tenants.first().router();
        if !self.tenants.common().flags.tenants_enabled {
            return first;
        }
        tenancy::by_tenant(Arc::new(ByRequest(self.tenants.clone())), first, &self.tenants.common().early)
    }

    /// Says what to do next.
    pub(super) fn announce(&self, flags: &ServeFlags) {
        self.tenants.common().early.notices.clear(Notice::Starting);
        let url = flags.external_url();
        tracing::info!(
            write = format!("{url}/api/v1/write"),
            query = format!("{url}/api/v1/query?query=up"),
            rules = self.tenants.all().iter().map(|tenant| tenant.group_count()).sum::<usize>(),
            "Hearth is ready: point remote_write and Grafana here, or run `hearth query up`"
        );
    }

    /// Serves, and loads the configuration again at each `SIGHUP`, until `end`.
    pub(super) async fn run_until(&self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return end.await };
        loop {
            tokio::select! {
                () = &mut end => return,
                _ = hangup.recv() => {
                    tokio::select! {
                        () = &mut end => return,
                        // What came of it is in the log and in the metrics.
                        _ = self.tenants.reloader().reload() => {}
                    }
                }
            }
        }
    }

    /// New requests are told to come back later; who follows notices is told, and need not be waited for.
    pub(super) fn stop_taking(&self) {
        self.tenants.stop_opening();
        let early = &self.tenants.common().early;
        early.readiness.set(Phase::Stopping);
        early.notices.raise(Notice::Stopping);
    }

    /// Ends what runs by itself and closes the storage of all tenants.
    pub(super) async fn shutdown(self) -> Result<(), String> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tenants.shutdown().await
    }
}

fn target_status(flags: &ServeFlags, config: &Config) -> TargetStatus {
    TargetStatus {
        job: config.self_scrape.job.clone(),
        instance: flags.listen_address.to_string(),
        url: format!("http://{}/metrics", flags.listen_address),
        interval: config.global.scrape_interval.as_std(),
        ..TargetStatus::default()
    }
}

/// The own scrape writes as rules do.
struct OwnSamples(Ingest);

impl Sink for OwnSamples {
    async fn store(
        &self,
        timestamp_ms: i64,
        samples: Vec<(Labels, f64)>,
        metadata: Vec<(String, Metadata)>,
    ) -> Result<(), String> {
        let own = |(labels, value)| OwnSample { labels, timestamp_ms, value: SampleValue::Float(value) };
        let samples: Vec<_> = samples.into_iter().map(own).collect();
        self.0.write_own(&samples).await.map_err(|error| error.to_string())?;
        self.0.write_own_metadata(metadata).await.map_err(|error| error.to_string())
    }
}
