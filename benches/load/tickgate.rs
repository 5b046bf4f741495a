//! One measurement of tickgate: broker, server, consumers, and the figures.

use std::collections::HashSet;

use super::args::{Args, Encoding, Mode};
use super::broker::Broker;
use super::client::Connected;
use super::machine::caught;
use super::measure::{self, Measured, Plan, Times};
use super::report::Row;
use super::scan::WebSocket;
use super::server::Tickgate;
use super::shape::Shape;

/// How long a market-data frame is about: bounds what may be on its way.
pub(crate) const FRAME: usize = 270;
const QUOTE_FRAME: usize = 700;
const DEPTH_FRAME: usize = 1_300;

/// Measures one scenario once.
///
/// # Errors
/// What went wrong, in words, with the server's log.
pub(crate) fn run(
    name: &str,
    args: &Args,
    shape: &Shape,
    round: usize,
    extra: &[(&str, &str)],
) -> Result<Row, String> {
    let told = |why: String| format!("{name} {}: {why}", shape.name());
    let broker = Broker::listen(shape.symbols);
    let server =
        caught(|| Ok(Tickgate::start(&args.program, broker.address(), args.feed, extra))).map_err(told)?;
    let measured = caught(|| measure(args, shape, &broker, &server));
    let (measured, conflated) = measured.map_err(|why| format!("{}\n{}", told(why), server.log()))?;
    Ok(Row::new(name, shape, round, &measured).of_tickgate(args, conflated))
}

/// What was measured, and how much was conflated meanwhile.
fn measure(
    args: &Args,
    shape: &Shape,
    broker: &Broker,
    server: &Tickgate,
) -> Result<(Measured, u64), String> {
    let sets = shape.sets();
    let connect = |set: &[usize]| {
        let mut connected = Connected::open(server.feed, args.encoding);
        connected.authenticate(&server.key);
        connected.subscribe(set, args.mode);
        connected
    };
    let readers = sets[..shape.readers].iter().map(|set| (connect(set), WebSocket::default())).collect();
    let stalled: Vec<_> = sets[shape.readers..].iter().map(|set| connect(set).stall()).collect();
    let witness = (args.smoke && args.encoding == Encoding::Json).then(|| connect(&sets[0]));
    let wanted: HashSet<_> = sets.iter().flatten().copied().collect();
    if wanted.len() < shape.symbols {
        return Err("not every instrument is wanted by somebody".to_owned());
    }
    broker.wait_subscribed(&wanted, args.mode)?;

    let conflated = server.metric("tickgate_ticks_conflated_total")?;
    let times = Times { warm_up: args.warm_up(), measured: args.measured(), check_all: args.smoke };
    let frame_len = match args.mode {
        Mode::Ltp => FRAME,
        Mode::Quote => QUOTE_FRAME,
        Mode::Depth => DEPTH_FRAME,
    };
    let outlet = broker.outlet(args.feed, args.mode, args.batch);
    let plan = Plan { shape, sets: &sets, frame_len, pid: server.pid(), times };
    let measured = measure::run(plan, readers, witness, outlet)?;
    let conflated = server.metric("tickgate_ticks_conflated_total")?.saturating_sub(conflated);
    drop(stalled);
    if measured.lost + measured.extra > 0 {
        let Measured { lost, extra, .. } = measured;
        return Err(format!("{lost} frames lost, {extra} too many, {conflated} conflated"));
    }
    Ok((measured, conflated))
}
