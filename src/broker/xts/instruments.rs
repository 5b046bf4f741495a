//! Calls about instruments: subscriptions, quotes, the instrument master, the index lists.
//! Not what is subscribed or when, and not what a row of the master means.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker::{Error, MasterText, Subscribed};
use crate::clock::UnixNanos;
use crate::market::{InstrumentId, Kind, Segment, Tick};
use crate::token::Token;

use super::XtsBroker;
use super::pace::Path;
use super::rest::{Call, is_already_subscribed};
use super::wire::code_of;
use super::wire::json::Decoder;
use super::wire::text::{Raw, raw_text, unescape};

/// Single instruments refused in the same words after which the refusal is suspected to be about
/// something else than the instrument, and so many more, from all over the rest of the batch, after
/// which it is taken to be.
const SAME_REFUSALS: usize = 5;
const SAMPLES: usize = 5;

/// Segments whose index lists are asked for.
const INDEX_SEGMENTS: [Segment; 2] = [Segment::NseCash, Segment::BseCash];

#[derive(Default, Deserialize)]
#[serde(default)]
struct QuotesResult<'a> {
    #[serde(borrow, rename = "listQuotes")]
    list_quotes: Raw<'a>,
}

impl XtsBroker {
    /// Subscribes a batch. The venue refuses a whole batch for one instrument (seen live for
    /// one that is subscribed already), so that a refused batch is halved until it is known
    /// which ones are meant.
    pub(super) async fn subscribe_batch(
        &self,
        token: &Token,
        kind: Kind,
        instruments: &[InstrumentId],
    ) -> Result<Subscribed, Error> {
        let mut done = Subscribed::default();
        let mut pending = vec![instruments];
        let mut may_clear = true;
        let mut refused = Refused::default();
        while let Some(batch) = pending.pop() {
            if batch.is_empty() {
                continue;
            }
            let (code, description) = match self.subscribe_once(token, kind, batch, &mut done.snapshot).await
            {
                Ok(()) => {
                    done.confirmed.extend_from_slice(batch);
                    continue;
                }
                Err(Error::Refused { code, description, .. }) => (code, description),
                Err(Error::SubscriptionLimit { description, .. }) if !done.confirmed.is_empty() => {
                    // What got in stays in; the caller must hear of both.
                    for batch in std::iter::once(batch).chain(pending) {
                        reject(&mut done, batch, &description);
                    }
                    return Ok(done);
                }
                Err(error) => return Err(error),
            };
            let already = is_already_subscribed(&code, &description);
            match batch {
                [single] if already => done.confirmed.push(*single),
                [_] => {
                    reject(&mut done, batch, &description);
                    let count = refused.note(&code, &description);
                    if done.confirmed.is_empty() && !names_an_instrument(&code, &description) {
                        if count == SAME_REFUSALS {
                            pending = samples_first(pending);
                        } else if count >= SAME_REFUSALS + SAMPLES {
                            for batch in std::mem::take(&mut pending) {
                                reject(&mut done, batch, &description);
                            }
                        }
                    }
                }
                _ if already && may_clear => {
                    // Most often all of it is held, from a call whose answer was lost: two
                    // calls instead of one for each.
                    may_clear = false;
                    self.unsubscribe_batch(token, kind, batch).await?;
                    pending.push(batch);
                }
                _ => {
                    let (front, back) = batch.split_at(batch.len() / 2);
                    pending.push(back);
                    pending.push(front);
                }
            }
        }
        Ok(done)
    }

    async fn subscribe_once(
        &self,
        token: &Token,
        kind: Kind,
        batch: &[InstrumentId],
        snapshot: &mut Vec<Tick>,
    ) -> Result<(), Error> {
        let call = Call::market(Method::POST, self.settings.subscription(), Some(&token.secret))
            .on(Path::Subscription)
            .with(&body(kind, batch));
        let sent = self.clock.now();
        self.rest
            .ask(call, |result| {
                read_quotes(kind, result, sent, snapshot);
                Ok(())
            })
            .await
    }

    pub(super) async fn unsubscribe_batch(
        &self,
        token: &Token,
        kind: Kind,
        instruments: &[InstrumentId],
    ) -> Result<(), Error> {
        if instruments.is_empty() {
            return Ok(());
        }
        let call = Call::market(Method::PUT, self.settings.subscription(), Some(&token.secret))
            .on(Path::Subscription)
            .with(&body(kind, instruments));
        match self.rest.ask(call, |_| Ok(())).await {
            // What real servers say to "not subscribed" is not known; a 400 that is no token
            // error is taken for it.
            Err(Error::Refused { status: 400, code, description }) => {
                tracing::debug!(
                    code,
                    description,
                    count = instruments.len(),
                    "unsubscribe refused, taken as done"
                );
                Ok(())
            }
            answered => answered,
        }
    }

    pub(super) async fn ask_quotes(
        &self,
        token: &Token,
        kind: Kind,
        instruments: &[InstrumentId],
    ) -> Result<Vec<Tick>, Error> {
        let mut ticks = Vec::new();
        if instruments.is_empty() {
            return Ok(ticks);
        }
        let mut request = body(kind, instruments);
        request["publishFormat"] = json!("JSON");
        let call =
            Call::market(Method::POST, self.settings.market("/instruments/quotes"), Some(&token.secret))
                .on(Path::Quotes)
                .with(&request);
        let sent = self.clock.now();
        let answered = self
            .rest
            .ask(call, |result| {
                read_quotes(kind, result, sent, &mut ticks);
                Ok(())
            })
            .await;
        match answered {
            Err(Error::Refused { description, .. }) if is_no_data(&description) => Ok(ticks),
            Err(error) => Err(error),
            Ok(()) => Ok(ticks),
        }
    }

    /// Downloads the master segment by segment (all at once would stand in memory twice), then
    /// the index lists. A segment that the broker refuses is left out; anything else fails the
    /// whole, so that a network fault never passes for a smaller master.
    pub(super) async fn download_master(&self, token: &Token) -> Result<MasterText, Error> {
        let mut text = MasterText::default();
        for segment in Segment::ALL {
            let name = segment.xts_name();
            let call =
                Call::market(Method::POST, self.settings.market("/instruments/master"), Some(&token.secret))
                    .on(Path::LookUp)
                    .with(&json!({ "exchangeSegmentList": [name] }))
                    .downloading();
            let before = text.rows.len();
            match self.rest.ask(call, |result| append_rows(result, &mut text.rows)).await {
                Ok(()) => {
                    tracing::debug!(segment = name, bytes = text.rows.len() - before, "master downloaded");
                }
                Err(Error::Refused { code, description, .. }) => {
                    tracing::warn!(
                        segment = name,
                        code,
                        description,
                        "the broker has no master for a segment"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        if text.rows.is_empty() {
            return Err(Error::Malformed("the instrument master is empty".to_owned()));
        }
        for segment in INDEX_SEGMENTS {
            let url = self.settings.market("/instruments/indexlist");
            let url = format!("{url}?exchangeSegment={}", segment.number());
            let call = Call::market(Method::GET, url, Some(&token.secret)).on(Path::LookUp).downloading();
            let number = i64::from(segment.number());
            match self.rest.ask(call, |result| append_indices(number, result, &mut text.indices)).await {
                Ok(()) => {}
                Err(Error::Refused { code, description, .. }) => {
                    tracing::warn!(
                        segment = segment.xts_name(),
                        code,
                        description,
                        "the broker has no index list"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(text)
    }
}

/// Refusals of single instruments in the same words.
#[derive(Default)]
struct Refused {
    words: (String, String),
    count: usize,
}

impl Refused {
    /// Returns how many in a row there were of these.
    fn note(&mut self, code: &str, description: &str) -> usize {
        if (self.words.0.as_str(), self.words.1.as_str()) != (code, description) {
            *self = Self { words: (code.to_owned(), description.to_owned()), count: 0 };
        }
        self.count += 1;
        self.count
    }
}

/// Whether a refusal is about the instrument in its own words, so that another instrument may
/// well be taken, however many were refused.
///
/// Source: "Instrument not found" and "key not found." of official samples.
fn names_an_instrument(code: &str, description: &str) -> bool {
    let words = description.to_ascii_lowercase();
    code.starts_with("e-instrument") || words.contains("instrument") || words.contains("not found")
}

/// The same instruments with single ones from all over them on top of the stack.
fn samples_first(pending: Vec<&[InstrumentId]>) -> Vec<&[InstrumentId]> {
    let total: usize = pending.iter().map(|batch| batch.len()).sum();
    let (mut rest, mut samples, mut seen) = (Vec::new(), Vec::new(), 0);
    for mut batch in pending.into_iter().rev() {
        // The last of every `total / SAMPLES` instruments.
        while let Some(at) = (seen..seen + batch.len())
            .find(|at| (at + 1) * SAMPLES / total > at * SAMPLES / total)
            .map(|at| at - seen)
        {
            let (before, after) = batch.split_at(at);
            rest.push(before);
            samples.push(&after[..1]);
            batch = &after[1..];
            seen += at + 1;
        }
        seen += batch.len();
        rest.push(batch);
    }
    rest.append(&mut samples);
    rest.retain(|batch| !batch.is_empty());
    rest
}

fn body(kind: Kind, instruments: &[InstrumentId]) -> Value {
    let instruments: Vec<Value> = instruments
        .iter()
        .map(|id| json!({ "exchangeSegment": id.segment.number(), "exchangeInstrumentID": id.code }))
        .collect();
    json!({ "instruments": instruments, "xtsMessageCode": code_of(kind) })
}

fn reject(done: &mut Subscribed, batch: &[InstrumentId], words: &str) {
    done.rejected.extend(batch.iter().map(|id| (*id, words.to_owned())));
}

/// Appends the ticks of `listQuotes`, which binary servers and closed markets leave out.
fn read_quotes(kind: Kind, result: Raw<'_>, sent: UnixNanos, ticks: &mut Vec<Tick>) {
    let found = result.and_then(|r| serde_json::from_str::<QuotesResult<'_>>(r.get()).ok());
    let Some(list) = found.and_then(|f| f.list_quotes) else { return };
    let counts = Decoder::new().event(code_of(kind), list.get(), sent, ticks);
    if counts.undecodable > 0 {
        tracing::debug!(?counts, "quotes that could not be read");
    }
}

/// Whether a refusal says that there is nothing: no quotes, an empty book.
pub(super) fn is_no_data(description: &str) -> bool {
    let words = description.to_ascii_lowercase();
    words.contains("data not available") || words.contains("no data")
}

/// Appends a segment's rows, each segment ending in a line's end.
fn append_rows(result: Raw<'_>, rows: &mut String) -> Result<(), Error> {
    let malformed = || Error::Malformed("the instrument master is no text".to_owned());
    let raw = result.ok_or_else(malformed)?.get();
    rows.reserve(raw.len());
    unescape(raw, rows).ok_or_else(malformed)?;
    if !rows.is_empty() && !rows.ends_with('\n') {
        rows.push('\n');
    }
    Ok(())
}

fn append_indices(segment: i64, result: Raw<'_>, indices: &mut Vec<(i64, String)>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct IndexResult<'a> {
        #[serde(borrow, rename = "indexList")]
        index_list: Vec<Raw<'a>>,
    }
    let malformed = || Error::Malformed("the index list is no list".to_owned());
    let raw = result.ok_or_else(malformed)?.get();
    let result: IndexResult<'_> = serde_json::from_str(raw).map_err(|_| malformed())?;
    indices.extend(result.index_list.into_iter().filter_map(raw_text).map(|entry| (segment, entry)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_from_everywhere_and_nothing_is_lost() {
        let ids: Vec<_> = (0..45).map(|code| InstrumentId { segment: Segment::NseCash, code }).collect();
        for cuts in [vec![], vec![1, 2, 20], vec![44]] {
            let mut pending = Vec::new();
            let mut rest = ids.as_slice();
            for cut in cuts.iter().rev() {
                let (before, after) = rest.split_at(*cut);
                pending.push(after);
                rest = before;
            }
            pending.push(rest);
            let mixed = samples_first(pending);
            let codes = |batch: &&[InstrumentId]| batch.iter().map(|id| id.code).collect::<Vec<_>>();
            let mut tops: Vec<_> = mixed.iter().rev().take(SAMPLES).flat_map(codes).collect();
            tops.sort_unstable();
            assert_eq!(tops.len(), SAMPLES, "{cuts:?}");
            assert!(tops.windows(2).all(|pair| pair[1] - pair[0] > 3), "{cuts:?}: {tops:?}");
            let mut all: Vec<_> = mixed.iter().flat_map(codes).collect();
            all.sort_unstable();
            assert_eq!(all, (0..45).collect::<Vec<_>>(), "{cuts:?}");
        }
        assert_eq!(samples_first(vec![&ids[..1]]).concat(), ids[..1]);
    }
}
