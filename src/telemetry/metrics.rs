//! Names and descriptions of every metric, in one place. Modules keep *handles*
//! (`metrics::counter!(NAME, …)` once, at construction): the macros look up a map each time.

/// Logins at the broker, by `account`, `product` and `outcome`.
pub const BROKER_LOGINS: &str = "tickgate_broker_logins_total";
/// Seconds until a token's end, by `account` and `product`.
pub const TOKEN_EXPIRY: &str = "tickgate_token_expiry_seconds";
/// 1 while the feed is live, by `account`.
pub const FEED_UP: &str = "tickgate_feed_up";
/// Feed reconnects, by `account` and `reason`.
pub const FEED_RECONNECTS: &str = "tickgate_feed_reconnects_total";
/// Seconds since the last tick, by `account`.
pub const FEED_LAST_TICK_AGE: &str = "tickgate_feed_last_tick_age_seconds";
/// Seconds in which data that somebody wants were stale, by `account` and `reason` (disconnected, mute, token,
/// login, replaced, internal, stopped).
pub const FEED_STALE_SECONDS: &str = "tickgate_feed_stale_seconds_total";
/// 1 for the state that a segment's data are in, by `account`, `segment` and `state` (live, delayed, stale, closed,
/// connecting); 0 for all while nothing of it is subscribed.
pub const FEED_STATE: &str = "tickgate_feed_state";
/// The session that the broker last announced, as its number, by `segment`.
pub const MARKET_SESSION: &str = "tickgate_market_session";
/// Ticks decoded from the broker, by `account`.
pub const TICKS_RECEIVED: &str = "tickgate_ticks_received_total";
/// Broker frames that could not be decoded, by `account`.
pub const FRAMES_UNDECODABLE: &str = "tickgate_frames_undecodable_total";
/// Rows and single figures of the broker's books that could not be read, by `account`, `book` and
/// `what` (row, figure).
pub const BOOK_UNREADABLE: &str = "tickgate_book_unreadable_total";
/// Requests that were not sent to the broker (no turn in time, no connection), by `account` and
/// `product`.
pub const REQUESTS_NOT_SENT: &str = "tickgate_broker_requests_not_sent_total";
/// Broker messages of codes that are not read, by `account`.
pub const MESSAGES_IGNORED: &str = "tickgate_messages_ignored_total";
/// Ticks not published because their last price was not positive, by `account`.
pub const TICKS_INVALID_PRICE: &str = "tickgate_ticks_invalid_price_total";
/// The day's price bands that the broker told, by `account`.
pub const PRICE_BANDS: &str = "tickgate_price_bands_total";
/// Of those, the ones there was no room to remember, by `account`.
pub const PRICE_BANDS_DROPPED: &str = "tickgate_price_bands_dropped_total";
/// Frames handed to consumers' sockets, by `encoding`.
pub const FRAMES_SENT: &str = "tickgate_frames_sent_total";
/// Frames replaced by a newer one before a slow consumer could read them.
pub const TICKS_CONFLATED: &str = "tickgate_ticks_conflated_total";
/// Frames left out because their consumer asked for one per interval.
pub const TICKS_THROTTLED: &str = "tickgate_ticks_throttled_total";
/// Frames given to consumers that came back with `since`.
pub const FRAMES_REPLAYED: &str = "tickgate_frames_replayed_total";
/// Times that something of what such a consumer had missed was not kept any more.
pub const REPLAYS_INCOMPLETE: &str = "tickgate_replays_incomplete_total";
/// Frames about how current data are, for consumers that asked for them, by `kind` (state, heartbeat).
pub const STATES_TOLD: &str = "tickgate_states_told_total";
/// Requests below `/api/v1`, by `endpoint` and `outcome`.
pub const REST_REQUESTS: &str = "tickgate_rest_requests_total";
/// Consumers connected now.
pub const CONSUMERS: &str = "tickgate_consumers";
/// Consumers in conflation now.
pub const CONSUMERS_SLOW: &str = "tickgate_consumers_slow";
/// Consumers' connections that ended, by `reason`.
pub const CONSUMERS_CLOSED: &str = "tickgate_consumers_closed_total";
/// Connections refused before they became consumers, by `reason`.
pub const CONSUMERS_REFUSED: &str = "tickgate_consumers_refused_total";
/// Requests to the HTTP port that were refused before anything was done about them, by `reason`.
pub const HTTP_REFUSED: &str = "tickgate_http_refused_total";
/// Times that the TLS certificate was read anew, by `outcome` (done, failed).
pub const TLS_RELOADS: &str = "tickgate_tls_reloads_total";
/// Broker frame read to bytes handed to the consumer's socket, in seconds.
pub const TICK_LATENCY: &str = "tickgate_tick_latency_seconds";
/// Upstream subscriptions by `account` and `state` (wanted, confirmed, rejected).
pub const SUBSCRIPTIONS: &str = "tickgate_subscriptions";
/// Writes to consumers' sockets.
pub const SOCKET_WRITES: &str = "tickgate_socket_writes_total";
/// Batches handed to shards.
pub const BATCHES: &str = "tickgate_batches_total";
/// Rows of the instrument master that were skipped, by `account`.
pub const MASTER_BAD_ROWS: &str = "tickgate_master_bad_rows";
/// Instruments known, by `account`.
pub const MASTER_INSTRUMENTS: &str = "tickgate_master_instruments";
/// Failures to store a token, by `account` and `product`.
pub const TOKEN_STORE_FAILURES: &str = "tickgate_token_store_failures_total";
/// Child restarts after a panic or an unexpected end, by `actor`.
pub const ACTOR_RESTARTS: &str = "tickgate_actor_restarts_total";
/// Times that somebody else's login ended our session, by `account` and `product`.
pub const SESSIONS_REPLACED: &str = "tickgate_sessions_replaced_total";
/// Changes of orders told to consumers, by `account` and `source` (event, book).
pub const ORDER_UPDATES: &str = "tickgate_order_updates_total";
/// Readings of the order book for changes that no event told of, by `account` and `outcome`.
pub const ORDER_RECONCILIATIONS: &str = "tickgate_order_reconciliations_total";
/// Orders and changes of orders asked of the broker, by `account`, `action` and `outcome` (done, refused,
/// unclear).
pub const ORDER_REQUESTS: &str = "tickgate_order_requests_total";
/// 1 while the account's own socket (orders, trades, the session's end) is open, by `account`.
pub const ACCOUNT_FEED_UP: &str = "tickgate_account_feed_up";
/// Events of the account's own socket, by `account` and `event`.
pub const ACCOUNT_EVENTS: &str = "tickgate_account_events_total";
