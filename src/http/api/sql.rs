//! `/api/v1/sql`: a statement of SQL over the stored series.
//!
//! The statement is the parameter `query` (or `q`), or the whole body when its type is `application/sql`. The answer is JSON
//! in Prometheus' envelope, CSV or Arrow's IPC stream, as `format` or else the header `Accept` says, sent while it is
//! computed.

use crate::http::error::ApiError;
use crate::http::params::{Nanoseconds, Params, form};
use crate::http::state::AppState;
use crate::sql::request::{SqlAnswer, SqlFormat, SqlRequest};
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use model::text::quote;

/// Runs a statement.
///
/// # Errors
/// A parameter is wrong or the statement failed before its first rows.
pub async fn run(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let (text, params) = statement(request).await?;
    let request = SqlRequest {
        text,
        tenant: state.tenant.clone(),
        start_ms: params.time("start")?,
        end_ms: params.time("end")?,
        include_stale: params.flag("include_stale")?,
        timeout: params.duration("timeout")?.map(Nanoseconds::as_std),
        format: format(params.get("format"), &headers)?,
    };
    let SqlAnswer { content_type, body } = state.sql.run(request).await?;
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(body)).into_response())
}

/// The statement and the other parameters.
async fn statement(request: Request) -> Result<(String, Params), ApiError> {
    if form::media_type(&request).eq_ignore_ascii_case("application/sql") {
        let params = Params::parse(&[], request.uri().query().unwrap_or_default());
        let refused = |error| ApiError::bad_data(format_args!("error reading the statement: {error}"));
        let body = form::read(request.into_body(), form::WAIT_MAX).await.map_err(refused)?;
        let text = std::str::from_utf8(body.bytes());
        return Ok((text.map_err(|_| ApiError::bad_data("the statement is not UTF-8"))?.to_owned(), params));
    }
    let params = Params::from_request(request, &()).await?;
    let text = [params.get("query"), params.get("q")].into_iter().find(|text| !text.is_empty());
    match text.map(str::to_owned) {
        Some(text) => Ok((text, params)),
        None => Err(ApiError::bad_parameter("query", "it is missing")),
    }
}

fn format(parameter: &str, headers: &HeaderMap) -> Result<SqlFormat, ApiError> {
    match parameter {
        "json" => Ok(SqlFormat::Json),
        "csv" => Ok(SqlFormat::Csv),
        "arrow" => Ok(SqlFormat::Arrow),
        "" => Ok(accepted(headers)),
        other => {
            Err(ApiError::bad_parameter("format", format_args!("expected json, csv or arrow, got {}", quote(other))))
        }
    }
}

/// The first form that the client lists; JSON when it lists none.
fn accepted(headers: &HeaderMap) -> SqlFormat {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = |item: &str| match item.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(SqlFormat::Json),
        "text/csv" => Some(SqlFormat::Csv),
        "application/vnd.apache.arrow.stream" => Some(SqlFormat::Arrow),
        _ => None,
    };
    accept.split(',').find_map(form).unwrap_or(SqlFormat::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_decides_before_the_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(format("", &headers), Ok(SqlFormat::Json));
        headers.insert(header::ACCEPT, "text/html, text/csv;q=0.9, application/json".parse().unwrap());
        assert_eq!(format("", &headers), Ok(SqlFormat::Csv));
        assert_eq!(format("arrow", &headers), Ok(SqlFormat::Arrow));
        assert!(format("xml", &headers).is_err());
    }
}
