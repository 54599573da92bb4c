//! The history of alerts, from the series `ALERTS` that rules write: one row for each time that an alert was in a state.
//!
//! Rules write a sample at every evaluation and a stale marker when the state ends. A row ends there, or at the last sample
//! before a gap that is longer than the lookback, which means that nobody evaluated the rule. It has no end while it
//! lasts: when its last sample is not older than the lookback, seen from the end of the range or from now.

use super::selected::{Needed, SelectedSeries, fingerprint};
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{label_maps, label_type, labels_type, schema, text_column, time_type, times};
use crate::sql::pushdown::{Role, Selector};
use crate::sql::scan::{Output, Whole};
use crate::sql::scope::{Bounds, Scope};
use datafusion::arrow::array::{ArrayRef, TimestampMillisecondArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use model::sample::{SampleColumns, is_stale_marker};
use std::sync::Arc;

const ALERT_NAME: &str = "alertname";
const ALERT_STATE: &str = "alertstate";

/// The history of alerts.
#[derive(Debug, Clone)]
pub(super) struct Alerts;

impl Table for Alerts {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("alertname", label_type(), true),
            ("alertstate", label_type(), true),
            ("labels", labels_type(), false),
            ("started_at", time_type(), false),
            ("ended_at", time_type(), true),
            ("last_seen", time_type(), false),
            ("samples", DataType::UInt64, false),
            ("fingerprint", DataType::UInt64, false),
        ])
    }

    fn role(&self, column: &str) -> Role {
        match column {
            "alertname" | "alertstate" => Role::Label(column.to_owned()),
            // Without the two above, which are labels of the series all the same.
            _ => Role::Other,
        }
    }

    fn selector(&self) -> Selector {
        Selector { matchers: vec![Matcher::equal(METRIC_NAME, "ALERTS")], bounds: Bounds::default() }
    }

    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let selected = Arc::new(SelectedSeries::select(&request.selector, &Needed::default(), local, scope)?);
        let text = selected.describe();
        let columns = request.columns;
        let (lookback_ms, until_ms) = (scope.sources.lookback_ms, request.selector.until_ms().min(scope.now_ms));
        let read = move |local: &LocalQueries<'_>, out: &mut Output| {
            let mut scratch = SampleColumns::default();
            for place in 0..selected.order.len() {
                local.budget().check()?;
                let index = selected.index(place);
                selected.set.read(index, selected.after_ms, selected.until_ms, &mut scratch)?;
                out.count(1, scratch.len());
                let spells = spells(&scratch, lookback_ms, until_ms);
                out.push(columns_of(&columns, &selected, place, &spells), spells.len())?;
            }
            Ok(())
        };
        Ok(Scan::new(Whole::new(text, read)))
    }
}

/// A time without interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spell {
    started_ms: i64,
    last_seen_ms: i64,
    /// `None` while it lasts.
    ended_ms: Option<i64>,
    samples: u64,
}

fn spells(columns: &SampleColumns, gap_max_ms: i64, until_ms: i64) -> Vec<Spell> {
    let mut all: Vec<Spell> = Vec::new();
    let mut open = false;
    for (&at, &value) in columns.timestamps_ms.iter().zip(&columns.values) {
        let last = all.last_mut().filter(|last| open && at.saturating_sub(last.last_seen_ms) <= gap_max_ms);
        match (is_stale_marker(value), last) {
            (true, Some(last)) => last.ended_ms = Some(at),
            (true, None) => {}
            (false, Some(last)) => {
                last.last_seen_ms = at;
                last.samples += 1;
            }
            (false, None) => all.push(Spell { started_ms: at, last_seen_ms: at, ended_ms: None, samples: 1 }),
        }
        open = !is_stale_marker(value);
    }
    let count = all.len();
    for (i, spell) in all.iter_mut().enumerate() {
        let lasts = i + 1 == count && until_ms.saturating_sub(spell.last_seen_ms) <= gap_max_ms;
        if spell.ended_ms.is_none() && !lasts {
            spell.ended_ms = Some(spell.last_seen_ms);
        }
    }
    all
}

fn columns_of(columns: &[usize], selected: &SelectedSeries, place: usize, spells: &[Spell]) -> Vec<ArrayRef> {
    let all = selected.labels_at(place);
    let label = |name: &str| text_column(spells.iter().map(|_| all.get(name)));
    let column = |column: &usize| -> ArrayRef {
        match *column {
            0 => label(ALERT_NAME),
            1 => label(ALERT_STATE),
            2 => {
                let others = all.filter(|name| !matches!(name, ALERT_NAME | ALERT_STATE));
                label_maps([(&others, spells.len())])
            }
            3 => times(spells.iter().map(|spell| spell.started_ms).collect()),
            4 => {
                let ends = spells.iter().map(|spell| spell.ended_ms).collect::<TimestampMillisecondArray>();
                Arc::new(ends.with_timezone("UTC"))
            }
            5 => times(spells.iter().map(|spell| spell.last_seen_ms).collect()),
            6 => Arc::new(spells.iter().map(|spell| spell.samples).collect::<UInt64Array>()),
            _ => Arc::new(UInt64Array::from_value(fingerprint(&all), spells.len())),
        }
    };
    columns.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sample::stale_marker;

    /// One letter per minute: `x` a sample, `s` a stale marker, `.` nothing. Gaps of up to two minutes do not count.
    fn shown(text: &str) -> Vec<(i64, Option<i64>)> {
        let mut columns = SampleColumns::default();
        for (minute, letter) in (0..).zip(text.chars()) {
            match letter {
                'x' => columns.push(minute, 1.0),
                's' => columns.push(minute, stale_marker()),
                _ => {}
            }
        }
        spells(&columns, 2, text.len() as i64 - 1).iter().map(|spell| (spell.started_ms, spell.ended_ms)).collect()
    }

    #[test]
    fn a_row_ends_at_a_stale_marker_or_before_a_gap() {
        assert_eq!(shown("xxxs.."), [(0, Some(3))]);
        assert_eq!(shown("xx..xx"), [(0, Some(1)), (4, None)]);
        assert_eq!(shown("x.x..."), [(0, Some(2))]);
        assert_eq!(shown("xsxx"), [(0, Some(1)), (2, None)]);
        assert_eq!(shown("s.xs"), [(2, Some(3))]);
    }
}
