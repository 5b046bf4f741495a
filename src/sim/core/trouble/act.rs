//! The beginning and the end of faults, and of the steps of a scenario, as time passes.

use std::time::Duration;

use serde_json::Value;

use super::super::feed::Socket;
use super::super::{Core, Out};
use super::{Kind, MAX_ACTIVE, MAX_ENDED, RestAnswer, Spec, Spoil, Trouble};
use crate::clock::UnixNanos;
use crate::sim::scenario::{Player, Scenario};
use crate::sim::sessions::Product;
use crate::sim::settings::SocketEnd;
use crate::sim::truth::Event;

impl Core {
    /// Begins a fault. Returns its number.
    ///
    /// # Errors
    /// If its account is unknown, or there are too many.
    pub(crate) fn begin_fault(&mut self, spec: Spec, now: UnixNanos) -> Result<u64, String> {
        let account = self.account_of_fault(&spec)?;
        if self.troubles.list.len() >= MAX_ACTIVE {
            return Err(format!("{MAX_ACTIVE} faults are in force already"));
        }
        self.troubles.begun += 1;
        let number = self.troubles.begun;
        self.notes.add(now, Event::FaultBegin { number, fault: spec.name });
        tracing::info!(fault = spec.name, number, lasts_ms = spec.lasts.as_millis(), "a fault begins");
        if spec.kind.is_at_once() {
            let struck = self.happen(&spec, account, now) as u64;
            self.note_fault_end(number, spec.name, struck, now);
            return Ok(number);
        }
        let mut trouble = Trouble {
            number,
            account,
            begun: now,
            until: now.plus(spec.lasts),
            left: spec.count,
            met: 0,
            struck: 0,
            spec,
        };
        match trouble.spec.kind {
            Kind::HalfOpen => trouble.struck = self.freeze(account, trouble.spec.product, number),
            Kind::Spoil(Spoil::OldSequence) => {
                self.troubles.past = Some((self.sequence, self.market.quotes().to_vec()));
            }
            _ => {}
        }
        self.troubles.list.push(trouble);
        self.set_pace();
        Ok(number)
    }

    /// # Errors
    /// If there is no such account.
    pub(crate) fn account_of_fault(&self, spec: &Spec) -> Result<Option<usize>, String> {
        let Some(user) = &spec.account else { return Ok(None) };
        let found = self.account_of_user(user);
        found.map(Some).ok_or_else(|| format!("account must be a user of /__sim/state, not {user:?}"))
    }

    /// Ends faults before their time: all, or those of a name.
    pub(crate) fn clear_faults(&mut self, name: Option<&str>, now: UnixNanos) -> usize {
        self.end_faults(now, |t| name.is_none_or(|name| name == t.spec.name))
    }

    pub(crate) fn faults_in_force(&self, now: UnixNanos) -> Value {
        self.troubles.view(now)
    }

    /// Plays `scenario` from `now` on.
    ///
    /// # Errors
    /// If a step names no account of ours.
    pub(crate) fn play(&mut self, scenario: Scenario, now: UnixNanos) -> Result<(), String> {
        for (place, spec) in scenario.specs() {
            self.account_of_fault(spec).map_err(|problem| format!("{place}: {problem}"))?;
        }
        self.player = Some(Player::start(scenario, self.settings.seed, now));
        Ok(())
    }

    /// Begins and ends what is due.
    pub(in crate::sim::core) fn pass_faults(&mut self, now: UnixNanos) {
        self.end_faults(now, |t| t.until <= now || t.left == Some(0));
        let Some(player) = &mut self.player else { return };
        for spec in player.due(now) {
            let name = spec.name;
            if let Err(problem) = self.begin_fault(spec, now) {
                tracing::warn!(fault = name, problem, "a step of the scenario is left out");
            }
        }
    }

    fn end_faults(&mut self, now: UnixNanos, is_over: impl Fn(&Trouble) -> bool) -> usize {
        if self.troubles.is_empty() {
            return 0;
        }
        let (over, left) =
            std::mem::take(&mut self.troubles.list).into_iter().partition::<Vec<_>, _>(|t| is_over(t));
        self.troubles.list = left;
        for trouble in &over {
            if trouble.spec.kind == Kind::HalfOpen {
                self.thaw(trouble.number, now);
            }
            self.note_fault_end(trouble.number, trouble.spec.name, trouble.struck, now);
        }
        if !self.troubles.list.iter().any(|t| t.spec.kind == Kind::Spoil(Spoil::OldSequence)) {
            self.troubles.past = None;
        }
        if !over.is_empty() {
            self.set_pace();
        }
        over.len()
    }

    fn note_fault_end(&mut self, number: u64, fault: &'static str, struck: u64, now: UnixNanos) {
        self.notes.add(now, Event::FaultEnd { number, fault, struck });
        tracing::info!(fault, number, struck, "a fault is over");
        self.troubles.ended.push_back((number, fault, struck));
        if self.troubles.ended.len() > MAX_ENDED {
            self.troubles.ended.pop_front();
        }
    }

    fn happen(&mut self, spec: &Spec, account: Option<usize>, now: UnixNanos) -> usize {
        match spec.kind {
            Kind::Expire(sockets) => self.expire(account, spec.product, sockets),
            Kind::Replace(sockets) => self.replace_sessions(account, spec.product, sockets, now),
            Kind::Drop { clean } => self.drop_sockets(account, spec.product, clean),
            Kind::Restart { forget, manner } => {
                self.restart(spec.lasts, forget, manner, now);
                1
            }
            _ => 0,
        }
    }

    /// As if somebody else had logged in with the same keys: the new session lives, and nobody
    /// here knows its token.
    fn replace_sessions(
        &mut self,
        account: Option<usize>,
        product: Option<Product>,
        sockets: SocketEnd,
        now: UnixNanos,
    ) -> usize {
        let mut replaced = 0;
        for number in 0..self.accounts.len() {
            for each in Product::ALL {
                let is_meant = account.is_none_or(|a| a == self.accounts[number].of)
                    && product.is_none_or(|p| p == each);
                if is_meant && self.accounts[number].sessions.get(each).is_some() {
                    self.end_session(number, each, sockets);
                    let _ = self.issue(number, each, "", None, now);
                    self.note_login(Some(number), each, "replaced", now);
                    replaced += 1;
                }
            }
        }
        replaced
    }

    fn freeze(&mut self, account: Option<usize>, product: Option<Product>, number: u64) -> u64 {
        let accounts = &self.accounts;
        let is_meant = |s: &Socket| {
            s.frozen.is_none()
                && account.is_none_or(|a| a == accounts[s.account].of)
                && product.is_none_or(|p| p == s.product)
        };
        let mut frozen = 0;
        for (&id, socket) in self.sockets.iter_mut().filter(|(_, s)| is_meant(s)) {
            socket.frozen = Some(number);
            self.outbox.push((id, Out::Freeze));
            frozen += 1;
        }
        frozen
    }

    /// A dead path's sockets break off in the end.
    fn thaw(&mut self, number: u64, now: UnixNanos) {
        let theirs: Vec<_> =
            self.sockets.iter().filter(|(_, s)| s.frozen == Some(number)).map(|(&id, _)| id).collect();
        for id in theirs {
            self.outbox.push((id, Out::Close { clean: false }));
            self.remove_socket(id, now);
        }
    }

    fn set_pace(&mut self) {
        let bursts = self.troubles.list.iter().filter_map(|t| match t.spec.kind {
            Kind::Burst { factor } => Some(factor),
            _ => None,
        });
        self.market.set_pace(self.settings.pace * bursts.fold(1.0, f64::max));
    }

    /// What a request to the venue is met with, and how late.
    pub(crate) fn meet_request(
        &mut self,
        path: &str,
        now: UnixNanos,
    ) -> Option<(Duration, Option<RestAnswer>)> {
        self.pass_time(now);
        let product = if path.contains("marketdata/") { Product::Market } else { Product::Interactive };
        self.troubles.rest(product, path)
    }
}
