//! `/healthz` and `/readyz`: for service managers, load balancers and people in a hurry.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Shared;
use crate::gateway::control::Status;
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

/// 200 when consumers can get live data. A closed market is no failure, but a reason for silence.
pub(super) async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    let status = shared.control.status();
    match status.ready() {
        Ok(()) => {
            let reason = all_closed(&status).then_some("all markets are closed");
            HttpResponse::Ok().json(json!({"ready": true, "reason": reason}))
        }
        Err(reason) => HttpResponse::ServiceUnavailable().json(json!({"ready": false, "reason": reason})),
    }
}

fn all_closed(status: &Status) -> bool {
    !status.market.is_empty() && status.market.iter().all(|(_, state)| *state == MarketState::Closed)
}
