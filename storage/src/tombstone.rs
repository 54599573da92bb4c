//! Tombstones: what was asked to be deleted.
//!
//! A tombstone names series by matchers and a span of time, and concerns exactly what was stored when it was asked for: the blocks
//! of a version of the manifest, to which the head was emptied before. It takes effect at once, as a filter of what is read from these
//! blocks, and is carried out when they are written anew; when none of them holds anything that it names, it is dropped.

use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::regex::RegexError;
use serde::{Deserialize, Serialize};

/// A matcher as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMatcher {
    /// The label it looks at.
    pub name: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub op: String,
    /// Value or expression.
    pub value: String,
}

/// Samples with `min_ms <= t <= max_ms` of the series that satisfy all matchers count as deleted, in the blocks that it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// Names it, and sorts by creation.
    pub id: String,
    /// All must hold; never empty.
    pub matchers: Vec<StoredMatcher>,
    /// First time, inclusive, milliseconds since the Unix epoch.
    pub min_ms: i64,
    /// Last time, inclusive.
    pub max_ms: i64,
    /// When it was made.
    pub created_ms: i64,
    /// It concerns blocks that came with this version of the manifest or an earlier one, and nothing else. Without, as manifests of
    /// format 1 have it, it concerns whatever is as old, whenever it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_version: Option<u64>,
}

/// Since when samples are where they are: says which deletions concern them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Since(u64);

impl Since {
    /// Of the head, and of blocks that came after all pending deletions.
    pub(crate) const NOW: Self = Self(u64::MAX);

    /// Of a block that came with a version of the manifest.
    pub(crate) fn version(version: u64) -> Self {
        Self(version)
    }
}

impl From<&Matcher> for StoredMatcher {
    fn from(matcher: &Matcher) -> Self {
        Self { name: matcher.name().into(), op: matcher.op().to_string(), value: matcher.value().into() }
    }
}

/// Why a stored matcher is none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MatcherError {
    /// The operator is not known.
    #[error("`{0}` is no operator of a matcher")]
    Operator(String),
    /// The expression is not.
    #[error("{0}")]
    Regex(#[from] RegexError),
}

impl StoredMatcher {
    /// The matcher, its expression compiled.
    ///
    /// # Errors
    /// The operator is not known or the expression is none.
    pub fn compile(&self) -> Result<Matcher, MatcherError> {
        let op = match self.op.as_str() {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            other => return Err(MatcherError::Operator(other.to_owned())),
        };
        Ok(Matcher::new(self.name.as_str(), op, self.value.as_str())?)
    }
}

/// A tombstone whose matchers are compiled.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// First time, inclusive.
    pub min_ms: i64,
    /// Last time, inclusive.
    pub max_ms: i64,
    /// As of its tombstone.
    pub up_to_version: Option<u64>,
}

impl Deletion {
    /// What a tombstone asks for.
    ///
    /// # Errors
    /// A matcher is none.
    pub fn of(tombstone: &Tombstone) -> Result<Self, MatcherError> {
        let matchers = tombstone.matchers.iter().map(StoredMatcher::compile).collect::<Result<_, _>>()?;
        let Tombstone { min_ms, max_ms, up_to_version, .. } = *tombstone;
        Ok(Self { matchers, min_ms, max_ms, up_to_version })
    }

    /// Whether it is about samples that are where they are since then.
    pub(crate) fn concerns(&self, since: Since) -> bool {
        self.up_to_version.is_none_or(|version| since.0 <= version)
    }

    /// Whether it names a series. An absent label has the empty value.
    #[must_use]
    pub fn names(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    /// Whether it may concern samples with `first_ms <= t <= last_ms`.
    #[must_use]
    pub fn overlaps(&self, first_ms: i64, last_ms: i64) -> bool {
        self.min_ms <= last_ms && self.max_ms >= first_ms
    }
}

/// The spans of time that are deleted of one series, sorted and apart from each other, both ends inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletedSpans {
    spans: Vec<(i64, i64)>,
}

impl DeletedSpans {
    /// What the deletions leave out of a series, where its samples are `since` then.
    #[must_use]
    pub(crate) fn of(labels: &Labels, deletions: &[Deletion], since: Since) -> Self {
        let named = deletions.iter().filter(|deletion| deletion.concerns(since) && deletion.names(labels));
        let mut spans: Vec<_> = named.map(|deletion| (deletion.min_ms, deletion.max_ms)).collect();
        spans.sort_unstable();
        spans.dedup_by(|next, kept| {
            let joined = next.0 <= kept.1.saturating_add(1);
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
        Self { spans }
    }

    /// Adds everything before `before_ms`: what has expired.
    pub fn expire(&mut self, before_ms: i64) {
        self.spans.retain(|span| span.1 >= before_ms);
        match self.spans.first_mut() {
            Some(first) if first.0 <= before_ms => first.0 = i64::MIN,
            _ => self.spans.insert(0, (i64::MIN, before_ms.saturating_sub(1))),
        }
    }

    /// Whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether a time is deleted.
    #[must_use]
    pub fn contains(&self, at_ms: i64) -> bool {
        let after = self.spans.partition_point(|span| span.0 <= at_ms);
        after.checked_sub(1).and_then(|at| self.spans.get(at)).is_some_and(|span| span.1 >= at_ms)
    }

    /// Whether all of `first_ms..=last_ms` is deleted.
    #[must_use]
    pub fn cover(&self, first_ms: i64, last_ms: i64) -> bool {
        self.spans.iter().any(|span| span.0 <= first_ms && span.1 >= last_ms)
    }

    /// Whether any of `first_ms..=last_ms` is deleted.
    #[must_use]
    pub fn touch(&self, first_ms: i64, last_ms: i64) -> bool {
        self.spans.iter().any(|span| span.0 <= last_ms && span.1 >= first_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tombstone(matchers: &[(&str, &str, &str)], min_ms: i64, max_ms: i64) -> Tombstone {
        let stored = |(name, op, value): &(&str, &str, &str)| StoredMatcher {
            name: (*name).into(),
            op: (*op).into(),
            value: (*value).into(),
        };
        let matchers = matchers.iter().map(stored).collect();
        Tombstone { id: "01".into(), matchers, min_ms, max_ms, created_ms: 0, up_to_version: None }
    }

    #[test]
    fn a_series_is_named_when_all_matchers_hold() {
        let deletion = Deletion::of(&tombstone(&[("job", "=~", "a|b"), ("zone", "=", "")], 0, 9)).unwrap();
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        assert!(deletion.names(&labels(&[("job", "a")])));
        assert!(!deletion.names(&labels(&[("job", "a"), ("zone", "x")])));
        assert!(!deletion.names(&labels(&[("job", "c")])));
    }

    #[test]
    fn a_deletion_concerns_what_was_there() {
        let deletion = |up_to_version| {
            Deletion::of(&Tombstone { up_to_version, ..tombstone(&[("job", "=", "a")], 0, 9) }).unwrap()
        };
        let concerned = |deletion: &Deletion| {
            [Since::version(0), Since::version(7), Since::version(8), Since::NOW].map(|since| deletion.concerns(since))
        };
        assert_eq!(concerned(&deletion(Some(7))), [true, true, false, false]);
        assert_eq!(concerned(&deletion(None)), [true; 4], "as manifests of format 1 mean it");
    }

    #[test]
    fn a_matcher_that_is_none_is_refused() {
        assert!(Deletion::of(&tombstone(&[("job", "~", "a")], 0, 9)).is_err());
        assert!(Deletion::of(&tombstone(&[("job", "=~", "(")], 0, 9)).is_err());
    }

    #[test]
    fn stored_matchers_come_back() {
        for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
            let matcher = Matcher::new("job", op, "a.*").unwrap();
            let back = StoredMatcher::from(&matcher).compile().unwrap();
            assert_eq!((back.name(), back.op(), back.value()), ("job", op, "a.*"));
        }
    }

    proptest! {
        #[test]
        fn spans_contain_what_any_deletion_contains(
            deletions in proptest::collection::vec((-20i64..20, 0i64..8), 0..6),
            expired in proptest::option::of(-20i64..20),
        ) {
            let all: Vec<_> = deletions
                .iter()
                .map(|(min_ms, length)| {
                    let max_ms = min_ms + length;
                    Deletion { matchers: Vec::new(), min_ms: *min_ms, max_ms, up_to_version: None }
                })
                .collect();
            let mut spans = DeletedSpans::of(&Labels::empty(), &all, Since::NOW);
            if let Some(before_ms) = expired {
                spans.expire(before_ms);
            }
            let deleted = |t: i64| {
                all.iter().any(|deletion| deletion.overlaps(t, t)) || expired.is_some_and(|before_ms| t < before_ms)
            };
            for t in -30..40 {
                prop_assert_eq!(spans.contains(t), deleted(t), "at {}", t);
                prop_assert_eq!(spans.touch(t, t + 3), (t..=t + 3).any(deleted));
            }
        }
    }
}
