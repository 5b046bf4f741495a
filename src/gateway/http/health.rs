//! `/healthz` and `/readyz`: for service managers, load balancers and people in a hurry.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Shared;
use crate::gateway::control::{Readiness, Status};
use crate::market::MarketState;

/// An actor that has not answered within this is stuck.
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);

/// 200 while the process works.
pub(super) async fn healthz(shared: web::Data<Shared>) -> HttpResponse {
    let unwell = match tokio::time::timeout(HEALTH_DEADLINE, shared.control.health()).await {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some(format!("no answer within {} s", HEALTH_DEADLINE.as_secs())),
    };
    let (name, pid) = (env!("CARGO_PKG_NAME"), std::process::id());
    match unwell {
        None => HttpResponse::Ok().json(json!({"status": "ok", "name": name, "pid": pid})),
        Some(reason) => {
            tracing::error!(reason, "unwell");
            let body = json!({"status": "unwell", "reason": reason, "name": name, "pid": pid});
            HttpResponse::ServiceUnavailable().json(body)
        }
    }
}

/// 200 when consumers can get live data. A closed market is no failure, but a reason for silence; nor is an
/// account that is unwell while another serves.
pub(super) async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    let status = shared.control.status();
    let Readiness { ready, unwell: mut reasons } = status.readiness();
    if ready && all_closed(&status) {
        reasons.push("all markets are closed".to_owned());
    }
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    let mut answer = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(json!({"ready": ready, "reason": reason}))
}

fn all_closed(status: &Status) -> bool {
    !status.market.is_empty() && status.market.iter().all(|(_, state)| *state == MarketState::Closed)
}
