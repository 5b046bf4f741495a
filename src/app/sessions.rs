//! The sessions of all accounts as one: each runs and fails by itself, all stop together. An account has one for
//! each of its market-data app keys; the first, which has its name, alone has the interactive product.

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

/// One session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) session: SessionHandle,
    failed: AtomicBool,
}

impl Member {
    /// Whose it is: its name up to the slash, which no account's name has.
    pub(super) fn account(&self) -> &str {
        let name = self.session.account();
        name.split_once('/').map_or(name, |(account, _)| account)
    }

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

    /// Those of each account together, the first one first.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &[Member]> {
        self.0.chunk_by(|one, next| one.account() == next.account())
    }

    /// A handle of each.
    pub(super) fn handles(&self) -> Vec<SessionHandle> {
        self.iter().map(|member| member.session.clone()).collect()
    }

    /// The session of this name; an account's name is that of its first. Without a name: the first of the only
    /// account; of several none is meant rather than another.
    pub(super) fn named(&self, name: Option<&str>) -> Result<&SessionHandle, Refused> {
        if let Some(name) = name {
            let mut all = self.iter().map(|member| &member.session);
            return all
                .find(|session| session.account() == name)
                .ok_or_else(|| Refused::NoAccount(name.to_owned()));
        }
        let mut firsts: Vec<_> = self.accounts().filter_map(<[Member]>::first).collect();
        match (firsts.pop(), firsts.is_empty()) {
            (Some(only), true) => Ok(&only.session),
            _ => Err(Refused::WhichAccount(
                self.accounts()
                    .filter_map(<[Member]>::first)
                    .map(|first| first.account().to_owned())
                    .collect(),
            )),
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
