//! What the simulated broker sent, by name, and whether a consumer got anything else. The record is a
//! relay's in front of the broker, so it shares no code with the product's decoder.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::watcher::Seen;
use crate::tap::Tap;

/// Everything that was sent of some instruments.
#[derive(Debug)]
pub(crate) struct Truth {
    /// For each name: every (last price, volume) that was sent.
    sent: Vec<HashSet<(u64, i64)>>,
    /// For each name: every last price.
    prices: Vec<HashSet<u64>>,
    /// For each name: last price and volume now.
    latest: Vec<(f64, i64)>,
    /// For each name: what was given over REST.
    asked: Vec<HashSet<(u64, i64)>>,
}

/// The simulator's instruments (`/__sim/truth`) by `EXCHANGE:SYMBOL`.
fn by_name(truth: &Value) -> HashMap<String, &Value> {
    let each = truth["instruments"].as_array().into_iter().flatten();
    let text = |i: &Value, key: &str| i[key].as_str().unwrap_or("?").to_owned();
    each.map(|i| (format!("{}:{}", text(i, "exchange"), text(i, "symbol")), i)).collect()
}

fn decimal(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

impl Truth {
    /// Of `names`, by the relay's record and what the simulator says of itself.
    pub(crate) fn read(names: &[String], tap: &Tap, truth: &Value) -> Result<Self, String> {
        let (messages, snapshots) = (tap.messages(), tap.snapshots());
        let known = by_name(truth);
        let (mut sent, mut prices, mut latest, mut all_asked) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let entry = known.get(name).ok_or_else(|| format!("the simulator has no {name}"))?;
            let number = |key: &str| entry[key].as_i64().unwrap_or(-1);
            let key = (number("segment") as i16, number("id") as i32);
            let live = messages.get(&key).into_iter().flatten().map(|m| (m.ltp, m.volume));
            let asked = snapshots.get(&key).into_iter().flatten().copied();
            let asked: HashSet<_> = asked.map(|(last, volume)| (last.to_bits(), volume)).collect();
            let mut all: HashSet<_> = live.map(|(last, volume)| (last.to_bits(), volume)).collect();
            all.extend(&asked);
            all_asked.push(asked);
            prices.push(all.iter().map(|(last, _)| *last).collect());
            sent.push(all);
            latest.push((decimal(&entry["ltp"]), number("volume")));
        }
        Ok(Self { sent, prices, latest, asked: all_asked })
    }

    /// How many values were sent.
    pub(crate) fn len(&self) -> usize {
        self.sent.iter().map(HashSet::len).sum()
    }

    /// What is wrong with what one consumer got: values that were never sent, an older one after a newer,
    /// numbers that do not rise. With `is_final`, also a last value that is not the latest.
    pub(crate) fn judge(&self, who: &str, names: &[String], seen: &[Seen], is_final: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut last: Vec<Option<Seen>> = vec![None; names.len()];
        for now in seen {
            let name = &names[now.name];
            let is_true = match now.volume {
                Some(volume) => self.sent[now.name].contains(&(now.last.to_bits(), volume)),
                None => self.prices[now.name].contains(&now.last.to_bits()),
            };
            if !is_true {
                wrong.push(format!("{who}: {name} {} (volume {:?}) was never sent", now.last, now.volume));
            }
            if let Some(before) = last[now.name] {
                if let (Some(volume), Some(volume_before)) = (now.volume, before.volume)
                    && volume < volume_before
                {
                    let is_asked =
                        |seen: Seen, volume| self.asked[now.name].contains(&(seen.last.to_bits(), volume));
                    // Two ways without a common order: what was under way on the socket when a snapshot was
                    // taken arrives after it. Nothing else may go back.
                    let is_overtaken = is_asked(before, volume_before) && !is_asked(*now, volume);
                    if !is_overtaken {
                        let since = |at: Instant| seen.first().map_or(Duration::ZERO, |first| at - first.at);
                        let by = |asked| if asked { "REST" } else { "the socket" };
                        wrong.push(format!(
                            "{who}: {name} volume {volume} by {} at {:?} after {volume_before} by {} at {:?}",
                            by(is_asked(*now, volume)),
                            since(now.at),
                            by(is_asked(before, volume_before)),
                            since(before.at),
                        ));
                    }
                }
                if let (Some((life, seq)), Some((life_before, seq_before))) = (now.seq, before.seq)
                    && life == life_before
                    && seq < seq_before
                {
                    wrong.push(format!("{who}: {name} number {seq} after {seq_before}"));
                }
            }
            last[now.name] = Some(*now);
        }
        if is_final {
            for (name, (now, (price, volume))) in names.iter().zip(last.iter().zip(&self.latest)) {
                let is_latest = now.is_some_and(|now| {
                    now.last.to_bits() == price.to_bits() && now.volume.is_none_or(|v| v == *volume)
                });
                if !is_latest {
                    wrong.push(format!("{who}: the last of {name} is {now:?}, not {price} {volume}"));
                }
            }
        }
        wrong
    }
}
