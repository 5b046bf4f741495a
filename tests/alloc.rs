//! The hot path does not allocate per tick, and what it costs does not grow with the number
//! of shards. A binary of its own: it counts every allocation of the process.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tickgate::clock::UnixNanos;
use tickgate::hub::{Encoding, FeedId, Hub, ShardEvent, ShardQueue, TopicKey};
use tickgate::market::{Depth, Exchange, InstrumentId, LastTrade, Price, Quote, Segment, Tick, TickBody};
use tickgate::protocol::Mode;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const INSTRUMENTS: u32 = 50;
const ROUNDS: usize = 2_000;
const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Binary];

fn tick(code: u32, round: usize, body: fn(Price) -> TickBody) -> Tick {
    let price = Price::from_rupees(100 + (round % 900) as i64);
    Tick {
        instrument: InstrumentId { segment: Segment::NseCash, code },
        ts_event: UnixNanos::ZERO,
        ts_recv: UnixNanos::from_millis(1_770_698_730_000),
        body: body(price),
    }
}

fn quote(price: Price) -> TickBody {
    TickBody::Quote(Quote {
        last: LastTrade { price, ..LastTrade::default() },
        close: price,
        ..Quote::default()
    })
}

fn depth(_: Price) -> TickBody {
    TickBody::Depth(Depth::default())
}

fn drain(shards: &mut [ShardQueue]) -> usize {
    let mut frames = 0;
    for shard in shards {
        while let Some(event) = shard.try_recv() {
            if let ShardEvent::Batch(batch) = event {
                frames += batch.entries.len();
            }
        }
    }
    frames
}

/// Allocations of `ROUNDS` batches of a quote and a depth for every instrument, all modes
/// held in both encodings, after a warm-up.
fn allocations(shard_count: usize) -> usize {
    let hub = Hub::new("sim");
    hub.keep(64, 64 << 20);
    let mut shards: Vec<_> = (0..shard_count).map(|_| hub.attach_shard()).collect();
    for shard in &shards {
        for code in 0..INSTRUMENTS {
            for (mode, encoding) in Mode::ALL.into_iter().flat_map(|mode| ENCODINGS.map(|e| (mode, e))) {
                let instrument = InstrumentId { segment: Segment::NseCash, code };
                let symbol = format!("SYMBOL{code}").into();
                let key = TopicKey { instrument, mode, encoding, exchange: Exchange::Nse, symbol };
                hub.acquire(shard.id(), key);
            }
        }
    }
    let mut publisher = hub.publisher(FeedId(0));
    let mut ticks = Vec::with_capacity(2 * INSTRUMENTS as usize);
    let mut run = |rounds: usize| {
        let mut frames = 0;
        for round in 0..rounds {
            ticks.clear();
            ticks.extend((0..INSTRUMENTS).flat_map(|c| [tick(c, round, quote), tick(c, round, depth)]));
            publisher.publish(&ticks);
            publisher.flush();
            frames += drain(&mut shards);
        }
        frames
    };
    run(50);
    let region = Region::new(ALLOCATOR);
    let frames = run(ROUNDS);
    let allocated = region.change().allocations;
    assert_eq!(
        frames,
        ROUNDS * shard_count * ENCODINGS.len() * 3 * INSTRUMENTS as usize,
        "every frame reached every shard"
    );
    allocated
}

#[test]
fn publishing_allocates_nothing_in_steady_state_whatever_the_number_of_shards() {
    for shards in [1, 8] {
        let allocated = allocations(shards);
        // Not a single one per batch; a handful from the test harness' other threads is no matter.
        assert!(allocated < ROUNDS / 100, "{allocated} allocations with {shards} shards");
    }
}
