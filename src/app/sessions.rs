//! The sessions of all accounts as one: each runs and fails by itself, all stop together.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tracing::error;

use crate::gateway::control::Refused;
use crate::session::SessionHandle;

/// One account's session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) session: SessionHandle,
    failed: AtomicBool,
}

impl Member {
    /// Whether it has given up, while others may go on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// All of them, in the order of the configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sessions(Arc<[Member]>);

impl Sessions {
    pub(super) fn new(sessions: impl IntoIterator<Item = SessionHandle>) -> Self {
        let member = |session| Member { session, failed: AtomicBool::new(false) };
        Self(sessions.into_iter().map(member).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    /// A handle of each.
    pub(super) fn handles(&self) -> Vec<SessionHandle> {
        self.iter().map(|member| member.session.clone()).collect()
    }

    /// The account of this name. Without a name: the only one; of several none is meant rather than another.
    pub(super) fn named(&self, account: Option<&str>) -> Result<&SessionHandle, Refused> {
        let mut all = self.iter().map(|member| &member.session);
        match (account, &*self.0) {
            (Some(name), _) => all
                .find(|session| session.account() == name)
                .ok_or_else(|| Refused::NoAccount(name.to_owned())),
            (None, [only]) => Ok(&only.session),
            (None, _) => {
                Err(Refused::WhichAccount(all.map(|session| session.account().to_owned()).collect()))
            }
        }
    }

    /// Whether the actors of every session that has not given up answer. The caller sets the deadline.
    pub(super) async fn health(&self) -> Result<(), String> {
        let alive = self.iter().filter(|member| !member.has_failed());
        let answers = alive.map(|Member { session, .. }| async move {
            session.health().await.map_err(|what| format!("account {}: {what}", session.account()))
        });
        let unwell: Vec<_> = join_all(answers).await.into_iter().filter_map(Result::err).collect();
        if unwell.is_empty() { Ok(()) } else { Err(unwell.join("; ")) }
    }

    /// Notes who gives up; resolves when everybody has. One account that fails costs the others nothing.
    pub(super) async fn all_failed(&self) {
        let failures = self.iter().map(|member| async move {
            member.session.failed().await;
            member
        });
        each_then_all(failures, |member, left| {
            member.failed.store(true, Ordering::Relaxed);
            let account = member.session.account();
            if left > 0 {
                error!(account, others = left, "the account has given up after repeated internal failures; the others go on; a restart of the server brings it back");
            } else {
                error!(account, "the account has given up after repeated internal failures");
            }
        })
        .await;
    }

    /// Stops all at once; returns when they have.
    pub(super) async fn stop(&self) {
        join_all(self.iter().map(|member| member.session.stop())).await;
    }
}

/// Calls `each` with what each future yields and how many are left; resolves after the last.
async fn each_then_all<T>(
    all: impl Iterator<Item = impl Future<Output = T>>,
    mut each: impl FnMut(T, usize),
) {
    let mut running: FuturesUnordered<_> = all.collect();
    while let Some(one) = running.next().await {
        each(one, running.len());
    }
}
