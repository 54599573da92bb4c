//! The YAML of a rule file, with the place of everything that a check may have to point at.
//!
//! Beside Prometheus' keys those that rule files for Mimir and Cortex have: `evaluation_delay` is their old name of
//! `query_offset`.

use super::{FILE_BYTES_MAX, Place, Problem};
use crate::yaml::{Entries, Integer, Items, Spanned, node};

node! {
    /// The whole file; an empty one has no groups.
    pub(super) struct Document {
        "groups" => groups: Items<GroupNode>,
    }
}

node! {
    pub(super) struct GroupNode {
        "name" => name: Spanned<String>,
        "interval" => interval: Spanned<String>,
        "query_offset" => query_offset: Spanned<String>,
        "evaluation_delay" => evaluation_delay: Spanned<String>,
        "limit" => limit: Integer,
        "limit_mode" => limit_mode: Spanned<String>,
        "on_error" => on_error: Spanned<String>,
        "evaluation" => evaluation: EvaluationNode,
        "labels" => labels: Entries,
        "rules" => rules: Items<RuleNode>,
        "source_tenants" => source_tenants: Items<String>,
        "align_evaluation_time_on_interval" => aligned: bool,
    }
}

node! {
    pub(super) struct EvaluationNode {
        "wait_for_ingest" => wait_for_ingest: Spanned<String>,
    }
}

node! {
    pub(super) struct RuleNode {
        "record" => record: Spanned<String>,
        "alert" => alert: Spanned<String>,
        "expr" => expr: Spanned<String>,
        "for" => hold: Spanned<String>,
        "keep_firing_for" => keep_firing_for: Spanned<String>,
        "evaluate" => evaluate: Spanned<String>,
        "labels" => labels: Entries,
        "annotations" => annotations: Entries,
    }
}

/// Reads the first document of `text`; the flag says whether more follow.
pub(super) fn read<D: serde::de::DeserializeOwned + Default>(
    file: &str,
    text: &str,
) -> Result<(D, bool), (Option<Place>, Problem)> {
    if text.len() > FILE_BYTES_MAX {
        return Err((None, Problem::TooLarge(text.len())));
    }
    crate::yaml::read(file, text).map_err(|(place, message)| (place, Problem::Yaml(message)))
}
