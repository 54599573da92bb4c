//! Power cuts under a whole engine, at random steps of log and snapshots.

use super::{Content, Place, append, content, value};
use crate::engine::Engine;
use std::collections::BTreeMap;

/// Appends until the power is gone, with snapshots in between. Returns what was acknowledged and what was tried.
fn live(engine: &Engine, first_ms: i64, acknowledged: &mut Content, tried: &mut Content) {
    for round in 0..40 {
        let timestamp = first_ms + round * 1000;
        let range = (round as u32 % 5) * 20..(round as u32 % 5) * 20 + 60;
        let stored = append(engine, range.clone(), timestamp).is_ok();
        for n in range {
            let labels = format!("{{__name__=\"m\", n=\"{n}\"}}");
            let sample = (timestamp, value(n, timestamp).to_bits());
            tried.entry(labels.clone()).or_default().extend([sample]);
            if stored {
                acknowledged.entry(labels).or_default().extend([sample]);
            }
        }
        if round % 8 == 7 {
            // Fails when the power is gone.
            let _ = engine.snapshot_now();
        }
        if !stored {
            return;
        }
    }
}

fn is_within(part: &Content, whole: &Content) -> bool {
    let empty = BTreeMap::new();
    part.iter().all(|(labels, samples)| {
        let whole = whole.get(labels).unwrap_or(&empty);
        samples.iter().all(|(timestamp, bits)| whole.get(timestamp) == Some(bits))
    })
}

/// Three lives, each ended by a power cut or a kill; what was acknowledged in any of them is there, and nothing that was not tried.
#[test]
fn power_cuts_and_kills_lose_nothing_acknowledged() {
    let rounds = std::env::var("HEARTH_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40u64);
    for seed in 0..rounds {
        let mut place = Place::new();
        let (mut acknowledged, mut tried) = (Content::new(), Content::new());
        for life in 0..3 {
            let step = place.disk.steps() + (seed * 37 + life * 101) % 150;
            place.disk.cut_power_at(step);
            // The power may go before the directory is open.
            if let Ok(engine) = place.try_open() {
                live(&engine, life as i64 * 1_000_000, &mut acknowledged, &mut tried);
            }
            place.disk = if (seed + life) % 3 == 0 { place.disk.kill() } else { place.disk.restart(seed * 7 + life) };
        }
        place.restart(seed);
        let engine = place.open();
        let stored = content(&engine);
        let case = format!("seed {seed}, {:?}", engine.restore_report());
        assert!(is_within(&acknowledged, &stored), "an acknowledged sample is missing: {case}");
        assert!(is_within(&stored, &tried), "a sample from nowhere: {case}");
        assert_eq!(engine.restore_report().damage_count(), 0, "{case}");
    }
}
