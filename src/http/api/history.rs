//! `/api/v1/alerts/history` and `/api/v1/rules/history`: what happened to alerts, and the last evaluations of rules. Ours.

use super::selectors;
use crate::http::envelope::{Remarks, success, success_value};
use crate::http::error::{ApiError, ErrorType};
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::rules::history::HistorySearch;
use axum::extract::State;
use axum::response::Response;
use promql::parse::ParseOptions;
use ruler::filter::RulesFilter;
use ruler::view::RuleHistoryView;

/// Entries and rules unless the client says otherwise, and at most.
const ENTRIES: usize = 100;
const ENTRIES_MAX: usize = 10_000;

/// What an alert or a rule can become.
const STATES: [&str; 5] = ["inactive", "pending", "firing", "ok", "err"];

/// Changes of alerts, newest first.
///
/// # Errors
/// A parameter is wrong, or the history is off or cannot be read.
pub async fn alerts(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let search = search(&params, &state.queries.options().parse)?;
    let off = || ApiError::new(ErrorType::Unavailable, "no history of alerts is kept".to_owned());
    let history = state.history.clone().ok_or_else(off)?;
    let found = state.queries.run_lookup(move || history.search(&search)).await?;
    let page = found.map_err(|error| ApiError::new(ErrorType::Internal, error.to_line()))?;
    Ok(success_value(&page))
}

/// The last evaluations of rules.
///
/// # Errors
/// A parameter is wrong.
pub async fn rules(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let filter = RulesFilter::from_parameters(params.url_pairs(), params.form_pairs()).map_err(ApiError::bad_data)?;
    let limit = limit(&params)?;
    let groups = state.rules.groups();
    let print = move || {
        let (view, is_cut) = RuleHistoryView::of(&groups, &filter, limit);
        (serde_json::to_vec(&view), Remarks::truncated(is_cut))
    };
    let (text, remarks) = state.queries.run_lookup(print).await?;
    let text = text.map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    Ok(success(text, &remarks))
}

fn search(params: &Params, parse: &ParseOptions) -> Result<HistorySearch, ApiError> {
    let time = |name, otherwise| params.time(name).map(|time| time.unwrap_or(otherwise));
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
        times: time("start", i64::MIN)?..=time("end", i64::MAX)?,
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
