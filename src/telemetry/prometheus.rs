//! Records metrics and renders them as the Prometheus text page.
//! Not where they are counted or named: that is `metrics`.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::telemetry::metrics as names;

/// Upper bounds of the latency histogram in seconds: fine where a healthy server is (tens of
/// microseconds), coarse where only the order of magnitude matters.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_2, 0.000_35, 0.000_5, 0.001, 0.002, 0.003_5, 0.005, 0.01, 0.02, 0.05,
    0.1, 0.25, 0.5, 1.0, 5.0,
];

/// How often samples of histograms are folded into their buckets. Without it their memory grows.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// The recorder's reading side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prometheus(PrometheusHandle);

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct Error(#[from] BuildError);

impl Prometheus {
    /// Makes this the process's recorder. Metric handles made before it record nothing, so it
    /// comes before everything else. A second call returns the same recorder.
    ///
    /// # Errors
    /// If another recorder is in place.
    pub fn install() -> Result<Self, Error> {
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = INSTALLED.get() {
            return Ok(Self(handle.clone()));
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(names::TICK_LATENCY.to_owned()), &LATENCY_BUCKETS)?
            .install_recorder()?;
        describe();
        Ok(Self(INSTALLED.get_or_init(|| handle).clone()))
    }

    /// The page.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the recorder's memory bounded; runs until it is dropped.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            self.0.run_upkeep();
        }
    }
}

fn describe() {
    let count = Unit::Count;
    describe_counter!(
        names::REQUESTS_NOT_SENT,
        count,
        "Requests not sent to the broker: no turn in time, or no connection."
    );
    describe_counter!(names::BROKER_LOGINS, count, "Logins at the broker.");
    describe_gauge!(names::TOKEN_EXPIRY, Unit::Seconds, "Time until the token's end or the daily cut-off.");
    describe_gauge!(names::FEED_UP, count, "1 while the feed is live.");
    describe_counter!(names::FEED_RECONNECTS, count, "Feed connections that ended.");
    describe_gauge!(names::FEED_LAST_TICK_AGE, Unit::Seconds, "Time since the last tick.");
    describe_counter!(names::FEED_STALE_SECONDS, Unit::Seconds, "Time in which wanted data were stale.");
    describe_gauge!(names::FEED_STATE, count, "1 for the state that a segment's data are in.");
    describe_counter!(names::STATES_TOLD, count, "Frames about how current data are.");
    describe_counter!(names::TICKS_RECEIVED, count, "Ticks decoded from the broker.");
    describe_counter!(names::FRAMES_UNDECODABLE, count, "Broker frames that could not be decoded.");
    describe_counter!(names::MESSAGES_IGNORED, count, "Broker messages of codes that are not read.");
    describe_counter!(names::PRICE_BANDS, count, "Price bands that the broker told.");
    describe_counter!(names::PRICE_BANDS_DROPPED, count, "Price bands that there was no room to remember.");
    describe_counter!(names::TICKS_INVALID_PRICE, count, "Ticks not published: last price not positive.");
    describe_counter!(names::FRAMES_SENT, count, "Frames handed to consumers' sockets.");
    describe_counter!(names::TICKS_CONFLATED, count, "Frames replaced by newer ones for slow consumers.");
    describe_counter!(
        names::TICKS_THROTTLED,
        count,
        "Frames left out for consumers that want one per interval."
    );
    describe_gauge!(names::CONSUMERS, count, "Consumers connected.");
    describe_gauge!(names::CONSUMERS_SLOW, count, "Consumers in conflation.");
    describe_counter!(names::CONSUMERS_CLOSED, count, "Consumers' connections that ended.");
    describe_counter!(names::CONSUMERS_REFUSED, count, "Connections refused before they became consumers.");
    describe_counter!(names::HTTP_REFUSED, count, "HTTP requests refused before anything was done.");
    describe_counter!(names::TLS_RELOADS, count, "Times that the TLS certificate was read anew.");
    describe_histogram!(
        names::TICK_LATENCY,
        Unit::Seconds,
        "Broker frame read to bytes handed to the socket."
    );
    describe_gauge!(names::SUBSCRIPTIONS, count, "Upstream subscriptions.");
    describe_counter!(names::SOCKET_WRITES, count, "Writes to consumers' sockets.");
    describe_counter!(names::BATCHES, count, "Batches handed to shards.");
    describe_gauge!(names::MASTER_BAD_ROWS, count, "Rows of the instrument master that were skipped.");
    describe_gauge!(names::MASTER_INSTRUMENTS, count, "Instruments known.");
    describe_counter!(names::TOKEN_STORE_FAILURES, count, "Failures to store a token.");
    describe_counter!(names::ACTOR_RESTARTS, count, "Children restarted after a panic or an unexpected end.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_buckets_and_help() {
        let page = Prometheus::install().unwrap();
        let again = Prometheus::install().unwrap();
        ::metrics::histogram!(names::TICK_LATENCY).record(0.000_06);
        ::metrics::counter!(names::FEED_RECONNECTS, "account" => "page-test", "reason" => "silent")
            .increment(2);
        let text = page.render();
        assert!(text.contains("# HELP tickgate_tick_latency_seconds Broker frame read"), "{text}");
        assert!(text.contains("# TYPE tickgate_tick_latency_seconds histogram"), "{text}");
        assert!(text.contains("tickgate_tick_latency_seconds_bucket{le=\"0.0001\"} "), "{text}");
        let line = "tickgate_feed_reconnects_total{account=\"page-test\",reason=\"silent\"} 2";
        assert!(text.contains(line), "{text}");
        assert!(again.render().contains(line));
    }
}
