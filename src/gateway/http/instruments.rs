//! `/v1/status/instruments`: when each instrument that is subscribed last had data. Apart from the
//! status, since there may be thousands.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::answer::Failure;
use super::{Shared, guard};
use crate::gateway::control::InstrumentStatus;

/// Instruments in one answer, unless fewer are asked for; and the most that may be.
const USUALLY: usize = 1_000;
const MOST: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page<'a> {
    /// All that there are.
    count: usize,
    instruments: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    account: &'a str,
    instrument: &'a str,
    state: &'static str,
    last_tick_age_ms: Option<u64>,
}

/// The longest without data first: what never had any, then by age.
pub(super) async fn instruments(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Failure> {
    guard::local_or_key(&request, &shared)?;
    let wanted = web::Query::<Wanted>::from_query(request.query_string())
        .map_err(|_| Failure::bad_request("limit must be a number, and nothing else is known"))?;
    let mut found = shared.control.instruments().await;
    found.sort_by(|a, b| a.last_data_at.cmp(&b.last_data_at).then_with(|| a.name.cmp(&b.name)));
    let now = shared.clock.now();
    let rows = found.iter().take(wanted.limit.unwrap_or(USUALLY).min(MOST)).map(row(now));
    Ok(HttpResponse::Ok().json(Page { count: found.len(), instruments: rows.collect() }))
}

fn row<'a>(now: crate::clock::UnixNanos) -> impl Fn(&'a InstrumentStatus) -> Row<'a> {
    move |instrument| Row {
        account: &instrument.account,
        instrument: &instrument.name,
        state: instrument.state,
        last_tick_age_ms: instrument.last_data_at.map(|at| now.since(at).as_millis() as u64),
    }
}
