//! A group of Alertmanagers that are configured together.

use super::alert::{Outgoing, relabelled};
use super::client::HttpClient;
use super::discovery::Source;
use super::parking::Parking;
use super::resolve::{TargetGroup, resolve};
use super::target::{Outbox, Target};
use super::{Shared, TargetStats};
use crate::config::{AlertmanagerConfig, relabel};
use alertmanager_compat::client::Parcel;
use model::relabel::RelabelRule;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A group and its targets. Dropping it ends the search and the deliveries.
pub(super) struct Group {
    number: u64,
    config: AlertmanagerConfig,
    client: Arc<HttpClient>,
    target_rules: Vec<RelabelRule>,
    alert_rules: Vec<RelabelRule>,
    listed: Vec<TargetGroup>,
    /// Places to look at and what is known of them.
    sources: Vec<(Source, Vec<TargetGroup>)>,
    /// By URL.
    targets: BTreeMap<String, Target>,
    dropped: Vec<String>,
    _search: DropGuard,
}

impl Group {
    /// Begins to look for the targets of `config`. A client for the same settings is shared, and what is `known` of a place
    /// counts until it was looked at again.
    pub(super) fn start(
        shared: &Arc<Shared>,
        number: u64,
        config: &AlertmanagerConfig,
        clients: &[Arc<HttpClient>],
        known: &[(Source, Vec<TargetGroup>)],
        outgoing: &Outgoing,
        parking: &mut Parking,
    ) -> Self {
        let http = config.http_client();
        let shared_client = clients.iter().find(|client| *client.config() == http).cloned();
        let of_list =
            |list: &crate::config::StaticConfig| TargetGroup::of_addresses(&list.targets, list.labels.clone());
        let known_of = |source: Source| {
            let found = known.iter().find(|(other, _)| *other == source).map(|(_, found)| found.clone());
            (source, found.unwrap_or_default())
        };
        let search = shared.stop.child_token();
        let mut group = Self {
            number,
            client: shared_client.unwrap_or_else(|| Arc::new(HttpClient::new(http))),
            target_rules: relabel::rules(&config.relabel_configs),
            alert_rules: relabel::rules(&config.alert_relabel_configs),
            listed: config.static_configs.iter().map(of_list).collect(),
            sources: Source::of(config).into_iter().map(known_of).collect(),
            targets: BTreeMap::new(),
            dropped: Vec::new(),
            config: config.clone(),
            _search: search.clone().drop_guard(),
        };
        group.settle(shared, outgoing, parking);
        group.search(shared, &search);
        group
    }

    fn search(&self, shared: &Arc<Shared>, stop: &CancellationToken) {
        for (index, (source, known)) in self.sources.iter().enumerate() {
            let (number, told) = (self.number, Arc::clone(shared));
            let changed = move |found| told.found(number, index, found);
            shared.tasks.spawn(source.clone().watch(known.clone(), stop.clone(), shared.discovery.clone(), changed));
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn config(&self) -> &AlertmanagerConfig {
        &self.config
    }

    pub(super) fn client(&self) -> &Arc<HttpClient> {
        &self.client
    }

    /// Takes note of what was found at a place.
    pub(super) fn found(
        &mut self,
        shared: &Arc<Shared>,
        source: usize,
        found: Vec<TargetGroup>,
        outgoing: &Outgoing,
        parking: &mut Parking,
    ) {
        if let Some((_, known)) = self.sources.get_mut(source) {
            *known = found;
            self.settle(shared, outgoing, parking);
        }
    }

    /// Makes the targets those that are listed and found. One that is new is told what was kept for it.
    fn settle(&mut self, shared: &Arc<Shared>, outgoing: &Outgoing, parking: &mut Parking) {
        let found = self.sources.iter().flat_map(|(_, found)| found);
        let resolved = resolve(&self.config, &self.target_rules, self.listed.iter().chain(found));
        for problem in resolved.problems {
            tracing::warn!(problem, "Alertmanagers that were found are left out");
        }
        self.dropped = resolved.dropped;
        let mut before = std::mem::take(&mut self.targets);
        for url in resolved.active {
            let target = before.remove(&url).unwrap_or_else(|| {
                let outbox = parking.take(&url).unwrap_or_else(|| {
                    let outbox = Outbox::new(&url, shared.queue_options(), shared.keeper.clone());
                    let kept = shared.keeper.waiting(&url).into_iter().map(|(number, message)| {
                        let parcel = outgoing.prepare(number, message).ok_or(number)?;
                        relabelled(&self.alert_rules, &parcel).ok_or(number)
                    });
                    outbox.push(kept);
                    Arc::new(outbox)
                });
                Target::start(shared, outbox, Arc::clone(&self.client), self.config.timeout.as_std())
            });
            self.targets.insert(url, target);
        }
        park(before, parking, shared.now());
    }

    /// Ends the group; returns what is known of its places.
    pub(super) fn retire(self, parking: &mut Parking, now: Duration) -> Vec<(Source, Vec<TargetGroup>)> {
        park(self.targets, parking, now);
        self.sources
    }

    /// Hands messages to every target; those of the numbers `dropped` were dropped before.
    pub(super) fn push(&self, parcels: &[Parcel], dropped: &[u64]) {
        let rewrite = |parcel: &Parcel| relabelled(&self.alert_rules, parcel).ok_or(parcel.number);
        let rewritten: Vec<Result<Parcel, u64>> = parcels.iter().map(rewrite).collect();
        for target in self.targets.values() {
            target.outbox.push(rewritten.iter().cloned().chain(dropped.iter().map(|number| Err(*number))));
        }
    }

    pub(super) fn stats(&self) -> impl Iterator<Item = TargetStats> {
        self.targets.values().map(|target| target.outbox.stats())
    }

    /// How many targets are listed or were found, before the rules.
    pub(super) fn discovered(&self) -> usize {
        let found = self.sources.iter().flat_map(|(_, found)| found);
        self.listed.iter().chain(found).map(|group| group.targets.len()).sum()
    }

    /// URLs that alerts are posted to.
    pub(super) fn active(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// URLs that the rules dropped.
    pub(super) fn dropped(&self) -> impl Iterator<Item = &String> {
        self.dropped.iter()
    }
}

fn park(targets: BTreeMap<String, Target>, parking: &mut Parking, now: Duration) {
    for (url, target) in targets {
        parking.put(url, Arc::clone(&target.outbox), now);
    }
}
