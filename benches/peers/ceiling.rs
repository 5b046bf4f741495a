//! What the machine allows: one thread that writes frames of the same length that were ready before, 256 at once, to
//! each consumer in turn, and the same sink. No program in between.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use tokio::time::Duration;

use super::Payloads;
use crate::load::args::Args;
use crate::load::client::Connected;
use crate::load::machine::{now, pause, thread_cpu, within};
use crate::load::measure::Measured;
use crate::load::scan::WebSocket;
use crate::load::shape::Shape;
use crate::load::sink::{self, Consumer, Shared};
use crate::load::ticks::Tick;

/// Frames of one write.
const BATCH: u64 = 256;

pub(super) fn run(args: &Args, shape: &Shape) -> Result<Measured, String> {
    let payloads = Payloads::new(BATCH as usize);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let (mut writers, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..shape.readers {
        let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
        let (writer, _) = listener.accept().map_err(|error| error.to_string())?;
        writer.set_nodelay(true).map_err(|error| error.to_string())?;
        writers.push(writer);
        let connected = Connected { socket, read: Vec::new() };
        consumers.push(Consumer { connected, scan: WebSocket::default(), checker: None });
    }
    let shared = Shared::new();
    let sink = sink::start(consumers, Arc::clone(&shared), true);
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = std::thread::spawn({
        let (stop, written, batch) = (Arc::clone(&stop), Arc::clone(&written), batch(&payloads));
        // The connections live until everything was read.
        move || (write(&writers, &batch, &stop, &written), writers)
    });
    pause(Duration::from_secs_f64(args.warm_up()));
    shared.recording.store(true, Ordering::Release);
    let began = (now(), shared.delivered());
    pause(Duration::from_secs_f64(args.measured()));
    stop.store(true, Ordering::Release);
    let (cpu, writers) = writer.join().map_err(|_| "the writer failed")?;
    let due = written.load(Ordering::Acquire);
    let complete = within(Duration::from_secs(10), || (shared.delivered() >= due).then_some(()));
    let seconds = (now() - began.0) as f64 / 1e9;
    shared.stop.store(true, Ordering::Release);
    let sunk = sink.join().map_err(|_| "the sink failed")?;
    drop(writers);
    if let Some(why) = shared.wrong() {
        return Err(why);
    }
    let frames = shared.delivered() - began.1;
    let count: u64 = sunk.counts.iter().sum();
    Ok(Measured {
        seconds,
        ticks: frames / shape.readers as u64,
        frames,
        frames_a_read: sunk.frames as f64 / (sunk.reads as f64).max(1.0),
        // Of the whole life of the writer, of which what is measured is the most.
        server_cpu: cpu * frames as f64 / due as f64,
        sink_cpu: sunk.cpu,
        memory: 0,
        lost: if complete.is_none() { due - count } else { 0 },
        extra: count.saturating_sub(due),
        lengths: (payloads.len(), payloads.len()),
        ages: Histogram::new(3).map_err(|error| error.to_string())?,
    })
}

/// The bytes of one write.
fn batch(payloads: &Payloads) -> Vec<u8> {
    let mut batch = Vec::new();
    for symbol in 0..BATCH as usize {
        batch.extend_from_slice(&[0x81, 126]);
        batch.extend_from_slice(&(payloads.len() as u16).to_be_bytes());
        payloads.push(Tick { number: symbol as u64, symbol }, &mut batch);
    }
    batch
}

/// Writes to each in turn until told to stop, returns its processor time.
fn write(writers: &[TcpStream], batch: &[u8], stop: &AtomicBool, written: &AtomicU64) -> f64 {
    'all: loop {
        for mut writer in writers {
            if stop.load(Ordering::Acquire) || writer.write_all(batch).is_err() {
                break 'all;
            }
            written.fetch_add(BATCH, Ordering::Release);
        }
    }
    thread_cpu()
}

/// Proves the scanners that the peers need.
pub(crate) fn self_check() {
    super::nats::self_check();
    super::redis::self_check();
}
