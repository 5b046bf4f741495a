//! Supervision by factory: obituaries, restart budgets, tasks that end with their owner.
//! Not a framework: actix's own `Supervisor` restarts the same value and does not catch
//! panics (actix 0.13, issues 158 and 204), so parents here make new children.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext as _};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::Instrument as _;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obituary {
    /// Whether it was by a panic.
    pub(crate) panicked: bool,
}

/// Lives inside a child; its drop, also during a panic, tells the parent.
pub(crate) struct ChildGuard {
    post: Option<Box<dyn FnOnce(Obituary) + Send>>,
}

impl ChildGuard {
    /// Calls `post` once when the child is gone, unless it was disarmed. `post` runs during
    /// unwinding: it must not block and not panic.
    pub(crate) fn new(post: impl FnOnce(Obituary) + Send + 'static) -> Self {
        Self { post: Some(Box::new(post)) }
    }

    /// The child ends because it was told to; nobody needs to hear of it.
    pub(crate) fn disarm(&mut self) {
        self.post = None;
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        if let Some(post) = self.post.take() {
            post(Obituary { panicked: std::thread::panicking() });
        }
    }
}

impl fmt::Debug for ChildGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildGuard").field("armed", &self.post.is_some()).finish()
    }
}

/// Starts an actor whose log lines name `span`, whatever calls them forth.
pub(crate) fn start_in<A>(span: tracing::Span, actor: A) -> Addr<A>
where
    A: Actor<Context = actix::Context<A>>,
{
    let context = actix::Context::new();
    let addr = context.address();
    actix::spawn(context.into_future(actor).instrument(span));
    addr
}

/// How many replacements a parent allows within a sliding window.
#[derive(Debug)]
pub(crate) struct RestartBudget {
    allowed: usize,
    window: Duration,
    spent: VecDeque<Instant>,
}

impl RestartBudget {
    /// `allowed` replacements within any `window`.
    pub(crate) fn new(allowed: usize, window: Duration) -> Self {
        Self { allowed, window, spent: VecDeque::new() }
    }

    /// Takes one replacement out of the budget; `false` if none is left.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        while self.spent.front().is_some_and(|at| now.duration_since(*at) >= self.window) {
            self.spent.pop_front();
        }
        if self.spent.len() >= self.allowed {
            return false;
        }
        self.spent.push_back(now);
        true
    }
}

/// A task that is aborted when its handle is dropped. A plain `JoinHandle` would leave it
/// running without an owner.
#[derive(Debug)]
pub(crate) struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    /// Owns the task from now on.
    pub(crate) const fn new(handle: JoinHandle<T>) -> Self {
        Self(handle)
    }

    /// Ends the task now.
    pub(crate) fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_obituary_is_posted_on_a_panic_and_on_a_quiet_end_but_not_after_an_order() {
        let (tx, rx) = mpsc::channel();
        let guard = |tx: &mpsc::Sender<Obituary>| {
            let tx = tx.clone();
            ChildGuard::new(move |obituary| tx.send(obituary).unwrap())
        };
        let child = guard(&tx);
        let task = tokio::spawn(async move {
            let _child = child;
            panic!("as the test wants it");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(rx.try_recv(), Ok(Obituary { panicked: true }));
        drop(guard(&tx));
        assert_eq!(rx.try_recv(), Ok(Obituary { panicked: false }));
        guard(&tx).disarm();
        assert!(rx.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_spent_and_refills_as_the_window_slides() {
        let mut budget = RestartBudget::new(2, Duration::from_mins(1));
        assert!(budget.spend(Instant::now()));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(budget.spend(Instant::now()));
        assert!(!budget.spend(Instant::now()));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(budget.spend(Instant::now()));
        assert!(!budget.spend(Instant::now()));
    }

    #[tokio::test]
    async fn a_dropped_handle_takes_its_task_with_it() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let task = AbortOnDrop::new(tokio::spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        }));
        drop(task);
        assert!(ended.await.is_err());
    }
}
