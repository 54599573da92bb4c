//! Many processes publish through networks that lose, delay and cut everything; then the chain is read from the store itself.

use super::{TENANT, block};
use crate::bucket::testing::{Faults, FaultyStore};
use crate::bucket::{Bucket, BucketStore, RetryPolicy};
use crate::manifest::{Clock, Conflict, Epoch, Manifest, ManifestChain, ManifestError, Role};
use futures::StreamExt;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const PROCESSES: u64 = 5;
const LIVES: u64 = 3;
const CHANGES: u64 = 6;
/// They wait most of the time.
const RUNS_IN_FLIGHT: usize = 20;

/// What processes were told.
#[derive(Default)]
struct Told {
    /// Blocks whose publication was confirmed.
    added: HashSet<String>,
    fenced: u64,
    crashed: u64,
    failed: u64,
}

/// The identity says who made a block, in which role, and by which epoch.
fn ulid(process: u64, role: Role, epoch: Epoch, number: u64) -> String {
    format!("{role}-{}-by-{process}-{number}", epoch.number())
}

fn author(ulid: &str) -> (&str, u64) {
    let mut parts = ulid.split('-');
    (parts.next().unwrap(), parts.next().unwrap().parse().unwrap())
}

/// One life: opens the chain, claims a role and publishes, until it is done, crashes or is fenced.
async fn live(process: u64, life: u64, store: &FaultyStore, bucket: Bucket, clock: Clock, told: &Mutex<Told>) {
    let role = if process.is_multiple_of(2) { Role::Writer } else { Role::Compactor };
    let chain = loop {
        match ManifestChain::open(bucket.clone(), TENANT, clock.clone()).await {
            Ok(chain) => break chain,
            Err(error) if !goes_on(&error, store, told) => return,
            Err(_) => {}
        }
    };
    let epoch = loop {
        match chain.claim(role).await {
            Ok(epoch) => break epoch,
            Err(error) if !goes_on(&error, store, told) => return,
            Err(_) => {}
        }
    };
    for number in 0..CHANGES {
        let ulid = ulid(process, role, epoch, life * 100 + number);
        loop {
            match chain.commit(epoch, |manifest| wanted(manifest, role, &ulid)).await {
                Ok(_) => {
                    told.lock().added.insert(ulid);
                    break;
                }
                Err(ManifestError::Conflict(_)) => break,
                Err(error) if !goes_on(&error, store, told) => return,
                Err(_) => {}
            }
        }
    }
}

/// Writers add a block, compactors replace the two oldest of the writers' by one.
fn wanted(manifest: &Manifest, role: Role, ulid: &str) -> Result<Manifest, Conflict> {
    if manifest.block(ulid).is_some() {
        return Ok(manifest.clone());
    }
    let level = u8::from(role == Role::Compactor);
    let mut inputs: Vec<_> = manifest.blocks.iter().filter(|block| block.level == 0).map(|b| b.ulid.clone()).collect();
    inputs.truncate(2);
    match role {
        Role::Writer => manifest.replace_blocks(&[], vec![block(ulid, level, 0)]),
        Role::Compactor => manifest.replace_blocks(&inputs, vec![block(ulid, level, 0)]),
    }
}

fn goes_on(error: &ManifestError, store: &FaultyStore, told: &Mutex<Told>) -> bool {
    let mut told = told.lock();
    if store.is_crashed() {
        told.crashed += 1;
        return false;
    }
    match error {
        ManifestError::Bucket(_) | ManifestError::Contended { .. } => told.failed += 1,
        ManifestError::Fenced { .. } => told.fenced += 1,
        other => panic!("{other}"),
    }
    !matches!(error, ManifestError::Fenced { .. })
}

async fn run(seed: u64) -> Told {
    let memory = BucketStore::in_memory();
    let told = Arc::new(Mutex::new(Told::default()));
    let begun = tokio::time::Instant::now();
    let clock: Clock = Arc::new(move || 1_790_000_000_000 + begun.elapsed().as_millis() as i64);
    let mut processes = tokio::task::JoinSet::new();
    for process in 0..PROCESSES {
        let (memory, told, clock) = (memory.clone(), told.clone(), clock.clone());
        processes.spawn(async move {
            let mut random = SmallRng::seed_from_u64(seed * 1_000 + process);
            for life in 0..LIVES {
                let store = FaultyStore::new(memory.clone(), random.random());
                store.set_faults(Faults {
                    slow_down: 0.2,
                    lost_answer: 0.15,
                    late_write: 0.15,
                    cut_body: 0.1,
                    delay_max: Duration::from_millis(4),
                    latency: Duration::ZERO,
                });
                if random.random::<f64>() < 0.4 {
                    store.crash_after(random.random_range(3..60));
                }
                let policy = RetryPolicy {
                    attempt_timeout: Duration::from_millis(3),
                    deadline: Duration::from_millis(25),
                    pause_min: Duration::from_millis(1),
                    pause_max: Duration::from_millis(4),
                };
                let bucket = Bucket::new(store.store(), "", policy, random.random());
                live(process, life, &store, bucket, clock.clone(), &told).await;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
            }
        });
    }
    while let Some(ended) = processes.join_next().await {
        ended.unwrap();
    }
    // What was given up and happens late has happened by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = Arc::into_inner(told).unwrap().into_inner();
    check(&memory, &told).await;
    told
}

/// The store itself must show one chain, in which nothing confirmed was lost and nobody published after their epoch.
async fn check(memory: &BucketStore, told: &Told) {
    let bucket = Bucket::new(memory.clone(), "", RetryPolicy::default(), 0);
    let mut chain = BTreeMap::new();
    for object in bucket.list("").await.unwrap() {
        if let Some(version) = super::names::parse_version(&object.key) {
            let bytes = bucket.get(&object.key).await.unwrap();
            chain.insert(version, Manifest::decode(&object.key, &bytes).unwrap());
        }
    }
    let mut before = Manifest::empty(TENANT);
    let mut added: HashMap<String, u64> = HashMap::new();
    for (version, manifest) in &chain {
        assert_eq!((*version, &manifest.parent_id), (before.version + 1, &before.commit_id), "one chain");
        assert!(manifest.writer_epoch >= before.writer_epoch && manifest.compactor_epoch >= before.compactor_epoch);
        for block in manifest.blocks.iter().filter(|block| before.block(&block.ulid).is_none()) {
            let (role, epoch) = author(&block.ulid);
            let current = if role == "writer" { manifest.writer_epoch } else { manifest.compactor_epoch };
            assert_eq!(epoch, current, "{} was published in version {version}, after its epoch", block.ulid);
            assert!(added.insert(block.ulid.clone(), *version).is_none(), "{} was added twice", block.ulid);
        }
        for block in before.blocks.iter().filter(|block| manifest.block(&block.ulid).is_none()) {
            assert_eq!(block.level, 0, "{} vanished in version {version}", block.ulid);
            assert!(manifest.removed.iter().any(|removed| removed.ulid == block.ulid));
        }
        before = manifest.clone();
    }
    for ulid in &told.added {
        assert!(added.contains_key(ulid), "{ulid} was confirmed and is in no version");
    }
}

/// `HEARTH_SEED=17` repeats one run, `HEARTH_SEEDS=5000` makes more of them. A seed decides what fails; which process is how
/// fast is up to the machine, so a failure may need several repetitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_form_one_chain_whatever_gets_lost() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HEARTH_SEED") {
        run(seed).await;
        return;
    }
    let seeds = 0..number("HEARTH_SEEDS").unwrap_or(60);
    let runs = seeds.map(|seed| async move { (seed, tokio::spawn(run(seed)).await) });
    let mut runs = futures::stream::iter(runs).buffer_unordered(RUNS_IN_FLIGHT);
    let mut total = Told::default();
    while let Some((seed, told)) = runs.next().await {
        let told = told.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        total.fenced += told.fenced;
        total.crashed += told.crashed;
        total.failed += told.failed;
        total.added.extend(told.added.into_iter().map(|ulid| format!("{seed} {ulid}")));
    }
    let happened = [total.added.len() as u64, total.fenced, total.crashed, total.failed];
    println!("confirmed, fenced, crashed, failed: {happened:?}");
    assert!(happened.iter().all(|n| *n > 10), "the simulation shows nothing: {happened:?}");
}
