//! The week and its verdict. What it is played on is `stage`; the server's own process is `child`.

pub(crate) mod child;
mod stage;
mod verdict;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::civil::Date;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tickgate::clock::UnixNanos;
use tickgate::market::Calendar;
use tokio::time::{Instant, sleep};

use crate::fault_runs::plan::{self, Fault, Kind};
use crate::fault_runs::truth::Truth;
use crate::fault_runs::watcher::{Seen, Speech, Watcher};
use stage::{PATIENCE, Stage};
use verdict::{Day, Verdict};

const SPEECHES: [Speech; 3] = [Speech::Plain, Speech::Numbered, Speech::Binary];

fn at(day: Date, time: &str) -> Result<UnixNanos> {
    let time: jiff::Timestamp = format!("{day}T{time}+05:30").parse()?;
    Ok(UnixNanos::from_secs(time.as_second()))
}

/// Plays it. Whether the verdict is good.
pub(crate) fn run(minutes: f64, seed: u64, smoke: bool) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(week(minutes, seed, smoke))
}

struct Week {
    stage: Stage,
    random: StdRng,
    verdict: Verdict,
    /// Those who stay for the whole week.
    stayers: Vec<Watcher>,
    /// How much of each stayer's book was judged.
    judged: Vec<usize>,
    /// Who came and went on this day: how, and what each got.
    gone: Vec<(Speech, Vec<Seen>)>,
}

async fn week(minutes: f64, seed: u64, smoke: bool) -> Result<bool> {
    let began = Instant::now();
    let monday = jiff::civil::date(2026, 2, 9);
    let stage = Stage::set(seed, at(monday, "08:39:55")?).await?;
    let mut week = Week {
        stage,
        random: StdRng::seed_from_u64(seed),
        verdict: Verdict::default(),
        stayers: Vec::new(),
        judged: Vec::new(),
        gone: Vec::new(),
    };
    // The first day is a short one: it, a night and the next morning's login and instrument list come before
    // the first look at what the process holds.
    let (length, days, first) = if smoke {
        (Duration::from_secs(4), 2, Duration::from_secs(3))
    } else {
        let whole = Duration::from_secs_f64(minutes * 60.0);
        let first = Duration::from_secs(45);
        (whole.saturating_sub(Duration::from_secs(100)) / 5, 8, first)
    };
    ensure!(length > Duration::from_secs(2), "a week takes at least two minutes");
    week.stage.move_to(at(monday, "08:40:00")?)?;
    week.morning().await.context("the first morning")?;
    for speech in SPEECHES {
        for _ in 0..2 {
            let watcher = week.stage.consumer(speech);
            week.stayers.push(watcher);
        }
    }
    week.judged = vec![0; week.stayers.len()];
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(week.stage.stalled().await?);
    }
    let mut day = monday;
    let mut logins_before = (0, 0);
    let mut looked = false;
    for number in 0..days {
        let is_open = Calendar::new().is_trading_day(day);
        if is_open {
            let length = if number == 0 { first } else { length };
            if number == 1 && !smoke {
                // About a minute has passed.
                week.verdict.before = week.look().await?;
                looked = true;
            }
            week.trade(day, length).await.with_context(|| format!("on {day}"))?;
            if smoke && number == 0 {
                week.verdict.before = week.look().await?;
                looked = true;
            }
        } else {
            week.stage.move_to(at(day, "12:00:00")?)?;
            week.stage.tell("drop", json!({"clean": false})).await?;
            sleep(Duration::from_secs(3)).await;
        }
        week.stage.move_to(at(day, "23:56:00")?)?;
        let logins = week.stage.logins().await?;
        week.verdict.days.push(Day {
            date: day,
            is_open,
            market: logins.0 - logins_before.0,
            interactive: logins.1 - logins_before.1,
        });
        logins_before = logins;
        println!(
            "{day}: {} market and {} interactive logins, {:.0} s",
            week.verdict.days[number].market,
            week.verdict.days[number].interactive,
            began.elapsed().as_secs_f64()
        );
        if number + 1 == days {
            break;
        }
        day = day.tomorrow()?;
        week.night(day).await.with_context(|| format!("in the night to {day}"))?;
    }
    ensure!(looked, "nothing was looked at in the beginning");
    week.verdict.after = week.look().await?;
    week.verdict.metrics = week.stage.metrics().await?;
    week.verdict.reconnects = week.stage.status().await?["feed"]["reconnects"].as_u64().unwrap_or(0);
    drop(stalled);
    week.verdict.lasted = began.elapsed();
    let Week { stage, verdict, stayers, .. } = week;
    drop(stayers);
    stage.strike().await?;
    Ok(verdict.print(seed))
}

impl Week {
    /// Waits until both tokens are valid and the feed is live.
    async fn morning(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            let status = self.stage.status().await?;
            let valid = |product: &str| status["token"][product]["state"] == "valid";
            let feed = &status["feed"];
            // Without consumers there is nothing to be connected for.
            if valid("market") && valid("interactive") && (feed["state"] == "live" || self.stayers.is_empty())
            {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "not ready: {status}\n{}", self.stage.log_tail());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// From the evening before `day` to its opening, or to its noon if it is none.
    async fn night(&mut self, day: Date) -> Result<()> {
        if self.random.random() {
            self.stage.tell("drop", json!({"clean": self.random.random::<bool>()})).await?;
        }
        self.stage.move_to(at(day, "03:00:01")?)?;
        sleep(Duration::from_secs(1)).await;
        let down = self.random.random_range(1..500);
        let forget = self.random.random::<bool>();
        self.stage.tell("restart", json!({"down_ms": down, "forget": forget})).await?;
        sleep(Duration::from_secs(1)).await;
        if Calendar::new().is_trading_day(day) {
            self.stage.move_to(at(day, "08:39:58")?)?;
            sleep(Duration::from_secs(1)).await;
            self.stage.move_to(at(day, "08:40:00")?)?;
            self.morning().await?;
        }
        Ok(())
    }

    /// The trading of a day: the clock jumps from hour to hour, things break, consumers come and go.
    async fn trade(&mut self, day: Date, length: Duration) -> Result<()> {
        self.stage.move_to(at(day, "09:15:00")?)?;
        self.stage.tell("mute", json!({"on": false})).await?;
        // Snapshots of the day before are behind.
        self.prices_after(Instant::now()).await?;
        for (watcher, judged) in self.stayers.iter().zip(&mut self.judged) {
            *judged = watcher.book().prices.len();
        }
        let end = Instant::now() + length;
        let mut hours = ["10:30:00", "11:45:00", "13:00:00", "14:00:00", "15:00:00"].into_iter();
        let mut next_hour = Instant::now() + length / 6;
        let mut visitors: Vec<(Instant, Watcher)> = Vec::new();
        while Instant::now() < end {
            if Instant::now() >= next_hour {
                next_hour += length / 6;
                if let Some(time) = hours.next() {
                    self.stage.move_to(at(day, time)?)?;
                }
            }
            if visitors.len() < 6 && self.random.random_bool(0.5) {
                let speech = SPEECHES[self.random.random_range(0..SPEECHES.len())];
                let until = Instant::now() + Duration::from_millis(self.random.random_range(300..8_000));
                visitors.push((until, self.stage.consumer(speech)));
            }
            let (gone, here) = visitors.into_iter().partition(|(until, _)| *until <= Instant::now());
            visitors = here;
            self.say_goodbye(gone)?;
            self.something_breaks().await?;
            sleep(Duration::from_millis(self.random.random_range(100..1_500))).await;
        }
        self.say_goodbye(visitors)?;
        self.judge().await
    }

    fn say_goodbye(&mut self, visitors: Vec<(Instant, Watcher)>) -> Result<()> {
        for (_, visitor) in visitors {
            let book = visitor.book();
            ensure!(book.ended.is_none(), "a visitor was sent away: {:?}", book.ended);
            self.gone.push((visitor.speech, book.prices.clone()));
        }
        Ok(())
    }

    /// A fault that costs no login, until all is well again.
    async fn something_breaks(&mut self) -> Result<()> {
        let fault = loop {
            let fault = plan::fault(&mut self.random);
            if fault.ended_sessions() == (0, 0) {
                break fault;
            }
        };
        let begun = Instant::now();
        let name = match &fault.kind {
            Kind::Drop { .. } => "the broker closed the socket",
            Kind::Away { .. } => "the broker was away",
            Kind::Mute => "connected but mute",
            _ => "the path was dead half-way",
        };
        self.inflict(&fault).await?;
        let over = Instant::now();
        self.prices_after(over).await.with_context(|| format!("after {fault}"))?;
        self.verdict.stale(name, begun.elapsed(), over.elapsed());
        Ok(())
    }

    async fn inflict(&mut self, fault: &Fault) -> Result<()> {
        let stage = &self.stage;
        match &fault.kind {
            Kind::Drop { clean } => {
                stage.tell("drop", json!({"product": "market", "clean": clean})).await?;
            }
            Kind::Away { manner, .. } => {
                let down = u64::try_from(fault.lasts.as_millis())?;
                stage.tell("restart", json!({"down_ms": down, "forget": false, "manner": manner})).await?;
                sleep(fault.lasts).await;
            }
            Kind::Mute => {
                stage.tell("mute", json!({"on": true})).await?;
                sleep(fault.lasts).await;
                stage.tell("mute", json!({"on": false})).await?;
            }
            _ => {
                stage.tap.freeze(true);
                sleep(fault.lasts).await;
                stage.tap.freeze(false);
            }
        }
        Ok(())
    }

    /// Waits until everybody who stays has prices newer than `since`, and is still there.
    async fn prices_after(&self, since: Instant) -> Result<()> {
        let started = Instant::now();
        loop {
            let mut all = true;
            for watcher in &self.stayers {
                let book = watcher.book();
                ensure!(book.ended.is_none(), "{:?} was sent away: {:?}", watcher.speech, book.ended);
                all &= book.newest.is_some_and(|at| at > since);
            }
            if all {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                anyhow::bail!("no prices: {}\n{}", self.stage.status().await?, self.stage.log_tail());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Compares what everybody got since the morning with what was sent.
    async fn judge(&mut self) -> Result<()> {
        // What was got before what was sent: the market goes on meanwhile.
        let mut got: Vec<(String, Vec<Seen>)> = Vec::new();
        for (watcher, judged) in self.stayers.iter().zip(&mut self.judged) {
            let book = watcher.book();
            got.push((format!("{:?}", watcher.speech), book.prices[*judged..].to_vec()));
            *judged = book.prices.len();
        }
        self.verdict.visitors += self.gone.len();
        got.extend(self.gone.drain(..).map(|(speech, prices)| (format!("{speech:?} visitor"), prices)));
        let truth = self.stage.sim("truth").await?;
        let truth = Truth::read(&self.stage.names, &self.stage.tap, &truth).map_err(anyhow::Error::msg)?;
        for (who, prices) in got {
            self.verdict.compared += prices.len();
            self.verdict.wrong.extend(truth.judge(&who, &self.stage.names, &prices, false));
        }
        Ok(())
    }

    /// What the process holds with nobody but those who stay, when all is quiet.
    async fn look(&self) -> Result<stage::Held> {
        sleep(Duration::from_secs(2)).await;
        self.stage.held().await
    }
}
