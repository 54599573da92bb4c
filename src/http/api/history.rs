//! `/api/v1/alerts/history` and `/api/v1/rules/history`: what happened to alerts, and the last evaluations of rules. Ours.

use super::selectors;
use crate::http::envelope::{Remarks, success, success_value};
use crate::http::error::{ApiError, ErrorType};
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::rules::history::HistorySearch;
use crate::rules::rule_history::ChangeEntry;
use axum::extract::State;
use axum::response::Response;
use promql::parse::ParseOptions;
use ruler::filter::RulesFilter;
use ruler::transition::EVALUATIONS_KEPT;
use ruler::view::{PastRuleView, RuleHistoryView};
use serde::Serialize;
use std::ops::RangeInclusive;
use storage::error::Error;

/// Entries and rules unless the client says otherwise, and at most.
const ENTRIES: usize = 100;
const ENTRIES_MAX: usize = 10_000;
/// Evaluations in one answer.
const EVALUATIONS_MAX: usize = 1_000_000;

/// What an alert or a rule can become.
const STATES: [&str; 5] = ["inactive", "pending", "firing", "ok", "err"];

/// Changes of alerts, newest first.
///
/// # Errors
/// A parameter is wrong, or the history is off or cannot be read.
pub async fn alerts(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let search = search(&params, &state.queries.options().parse)?;
    let off = || ApiError::new(ErrorType::Unavailable, "no history of alerts is kept".to_owned());
    let history = state.histories.alerts.clone().ok_or_else(off)?;
    let found = state.queries.run_lookup(move || history.search(&search)).await?;
    let page = found.map_err(|error| ApiError::new(ErrorType::Internal, error.to_line()))?;
    Ok(success_value(&page))
}

/// `data` of `/api/v1/rules/history`.
#[derive(Serialize)]
struct RuleHistoryPage {
    rules: Vec<PastRuleView>,
    /// Newest first; `None` while no history is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<ChangeEntry>>,
}

/// The last evaluations of rules, and what changed about them.
///
/// # Errors
/// A parameter is wrong, or the history cannot be read.
pub async fn rules(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let filter = RulesFilter::from_parameters(params.url_pairs(), params.form_pairs()).map_err(ApiError::bad_data)?;
    let limit = limit(&params)?;
    let most = evaluations(&params, limit)?;
    let times = times(&params)?;
    let (groups, history) = (state.rules.groups(), state.histories.rules.clone());
    let print = move || {
        let (RuleHistoryView { mut rules }, mut is_cut) = RuleHistoryView::of(&groups, &filter, limit);
        let changes = match &history {
            Some(history) => {
                is_cut |= history.complete(&mut rules, times.clone(), most)?;
                let (changes, has_more) = history.changes(&filter, times, limit)?;
                is_cut |= has_more;
                Some(changes)
            }
            None => {
                for PastRuleView { evaluations, .. } in &mut rules {
                    evaluations.retain(|evaluation| times.contains(&evaluation.time.0));
                    evaluations.truncate(most);
                }
                None
            }
        };
        Ok::<_, Error>((serde_json::to_vec(&RuleHistoryPage { rules, changes }), Remarks::truncated(is_cut)))
    };
    let printed = state.queries.run_lookup(print).await?;
    let (text, remarks) = printed.map_err(|error| ApiError::new(ErrorType::Internal, error.to_line()))?;
    let text = text.map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    Ok(success(text, &remarks))
}

/// How many evaluations of each of `rules` rules.
fn evaluations(params: &Params, rules: usize) -> Result<usize, ApiError> {
    let wrong = |why| ApiError::bad_parameter("evaluations", why);
    let most = match params.get("evaluations") {
        "" => return Ok(EVALUATIONS_KEPT),
        text => text.parse::<usize>().map_err(|_| wrong(format_args!("it is no number")))?,
    };
    match rules.checked_mul(most) {
        Some(all) if all <= EVALUATIONS_MAX => Ok(most),
        _ => {
            Err(wrong(format_args!("together with limit it must not ask for more than {EVALUATIONS_MAX} evaluations")))
        }
    }
}

/// From `start` to `end`, in milliseconds since the Unix epoch.
fn times(params: &Params) -> Result<RangeInclusive<i64>, ApiError> {
    let time = |name, otherwise| params.time(name).map(|time| time.unwrap_or(otherwise));
    Ok(time("start", i64::MIN)?..=time("end", i64::MAX)?)
}

fn search(params: &Params, parse: &ParseOptions) -> Result<HistorySearch, ApiError> {
    let names = |name| params.all(name).map(str::to_owned).collect::<Vec<_>>();
    let states =
        names("state[]").into_iter().chain(Some(params.get("state").to_owned()).filter(|text| !text.is_empty()));
    let states: Vec<String> = states.map(|state| state.to_lowercase()).collect();
    if let Some(unknown) = states.iter().find(|state| !STATES.contains(&state.as_str())) {
        return Err(ApiError::bad_parameter("state", format_args!("{unknown:?} is none of {}", STATES.join(", "))));
    }
    let token = params.get("next_token");
    let before = match token {
        "" => None,
        token => Some(token.parse().map_err(|_| ApiError::bad_parameter("next_token", "it is no number"))?),
    };
    Ok(HistorySearch {
        times: times(params)?,
        selectors: selectors::parse(params, parse).map_err(|why| ApiError::bad_parameter("match[]", why))?,
        rules: names("rule_name[]"),
        groups: names("rule_group[]"),
        states,
        limit: limit(params)?,
        before,
    })
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    match params.limit()? {
        None => Ok(ENTRIES),
        Some(limit) if limit > ENTRIES_MAX => {
            Err(ApiError::bad_parameter("limit", format_args!("it must not exceed {ENTRIES_MAX}")))
        }
        Some(limit) => Ok(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<HistorySearch, ApiError> {
        search(&Params::parse(b"", query), &ParseOptions::default())
    }

    #[test]
    fn parameters_choose_what_is_shown() {
        let all = read("").unwrap();
        assert_eq!((all.times.clone(), all.limit, all.before), (i64::MIN..=i64::MAX, ENTRIES, None));
        assert!(all.selectors.is_empty() && all.rules.is_empty() && all.states.is_empty());
        let some = read(
            "start=1&end=2.5&match[]={job=\"a\"}&rule_name[]=A&rule_name[]=B&rule_group[]=g&state=Firing&limit=5&next_token=7",
        );
        let some = some.unwrap();
        assert_eq!((some.times.clone(), some.limit, some.before), (1_000..=2_500, 5, Some(7)));
        assert_eq!((some.selectors.len(), some.rules.len(), some.groups.len()), (1, 2, 1));
        assert_eq!(some.states, ["firing"]);
        for query in ["start=x", "match[]={", "state=on", "limit=-1", "limit=10001", "next_token=x"] {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
