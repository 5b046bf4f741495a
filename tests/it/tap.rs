//! A TCP relay between the server and its broker that remembers what the broker sent, and a
//! reader of that record which shares no code with the product's decoder.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Every connection's bytes from the broker, in order.
type Record = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    record: Record,
    frozen: Arc<AtomicBool>,
}

impl Tap {
    pub(crate) async fn start(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Record::default();
        let records = Arc::clone(&record);
        let frozen = Arc::new(AtomicBool::new(false));
        let is_frozen = Arc::clone(&frozen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(broker).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                    let _ = to_server.shutdown().await;
                });
                let records = Arc::clone(&records);
                let is_frozen = Arc::clone(&is_frozen);
                tokio::spawn(async move {
                    let index = {
                        let mut records = records.lock().unwrap();
                        records.push(Vec::new());
                        records.len() - 1
                    };
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(n) = from_server.read(&mut buffer).await {
                        if n == 0 {
                            break;
                        }
                        while is_frozen.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        // Remembered before it is passed on: a consumer can never be ahead.
                        records.lock().unwrap()[index].extend_from_slice(&buffer[..n]);
                        if to_client.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                    let _ = to_client.shutdown().await;
                });
            }
        });
        Self { address, record, frozen }
    }

    /// Lets nothing through from the broker, with all connections open, as a path does that went dead
    /// half-way; or lets it go on, with what came meanwhile.
    pub(crate) fn freeze(&self, on: bool) {
        self.frozen.store(on, Ordering::Relaxed);
    }

    /// Last price and volume of every quote the broker gave over REST so far, by (segment, id).
    pub(crate) fn snapshots(&self) -> HashMap<(i16, i32), Vec<(f64, i64)>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for bytes in self.record.lock().unwrap().iter().filter(|b| !b.starts_with(b"HTTP/1.1 101")) {
            // Quotes are JSON in a JSON string.
            let text = String::from_utf8_lossy(bytes).replace('\\', "");
            for quote in text.split("{\"MessageCode\":").skip(1) {
                let number = |name: &str| -> Option<f64> {
                    let rest = quote.split_once(&format!("\"{name}\":"))?.1.trim_start_matches('"');
                    let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '-'))?;
                    rest[..end].parse().ok()
                };
                let (Some(segment), Some(id)) = (number("ExchangeSegment"), number("ExchangeInstrumentID"))
                else {
                    continue;
                };
                if let (Some(last), Some(volume)) = (number("LastTradedPrice"), number("TotalTradedQuantity"))
                {
                    found.entry((segment as i16, id as i32)).or_default().push((last, volume as i64));
                }
            }
        }
        found
    }

    /// Every message the broker sent over WebSockets so far, by (segment, id), in order.
    pub(crate) fn messages(&self) -> HashMap<(i16, i32), Vec<Touchline>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for bytes in self.record.lock().unwrap().iter() {
            for frame in binary_frames(bytes) {
                for (key, touchline) in touchlines(&frame) {
                    found.entry(key).or_default().push(touchline);
                }
            }
        }
        found
    }
}

/// The payloads of a server's binary WebSocket frames after its `101` answer.
fn binary_frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    if !bytes.starts_with(b"HTTP/1.1 101") {
        return frames;
    }
    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return frames };
    let mut rest = &bytes[head + 4..];
    while rest.len() >= 2 {
        let (opcode, short) = (rest[0] & 15, usize::from(rest[1] & 127));
        let (length, header) = match short {
            126 if rest.len() >= 4 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
            127 if rest.len() >= 10 => {
                (usize::try_from(u64::from_be_bytes(rest[2..10].try_into().unwrap())).unwrap(), 10)
            }
            126 | 127 => break,
            _ => (short, 2),
        };
        if rest.len() < header + length {
            break;
        }
        if opcode == 2 {
            frames.push(rest[header..header + length].to_vec());
        }
        rest = &rest[header + length..];
    }
    frames
}

/// What a 1501 or 1502 message says of top of book and last trade; offsets of layout B.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Touchline {
    pub(crate) code: u16,
    pub(crate) bid: (i64, f64),
    pub(crate) ask: (i64, f64),
    pub(crate) ltp: f64,
    pub(crate) ltq: i64,
    pub(crate) volume: i64,
    pub(crate) average: f64,
    pub(crate) last_trade_time: i64,
    pub(crate) ohlc: [f64; 4],
    pub(crate) totals: (i64, i64),
    /// All five levels a side, of 1502 only: (size, price, orders).
    pub(crate) book: Vec<(i64, f64, u32)>,
}

fn touchlines(frame: &[u8]) -> Vec<((i16, i32), Touchline)> {
    let mut found = Vec::new();
    let mut rest = frame.strip_prefix(&[4]).unwrap_or(frame);
    while rest.len() >= 15 {
        let code = u16::from_le_bytes([rest[1], rest[2]]);
        let key =
            (i16::from_le_bytes([rest[3], rest[4]]), i32::from_le_bytes(rest[5..9].try_into().unwrap()));
        let size = usize::from(u16::from_le_bytes([rest[13], rest[14]]));
        let body = if rest[0] == 1 {
            let packed = usize::from(u16::from_le_bytes([rest[15], rest[16]]));
            let mut body = Vec::new();
            flate2::read::DeflateDecoder::new(&rest[17..17 + packed]).read_to_end(&mut body).unwrap();
            rest = &rest[17 + packed..];
            body
        } else {
            let body = rest[15..15 + size].to_vec();
            rest = &rest[15 + size..];
            body
        };
        assert_eq!(body.len(), size);
        let (block, book) = match (code, size) {
            (1501, 204) => (40, Vec::new()),
            (1502, 432) => {
                let row = |at: usize| (long(&body, at), double(&body, at + 8), int(&body, at + 16));
                let rows = (0..5).map(|i| row(44 + 22 * i)).chain((0..5).map(|i| row(158 + 22 * i)));
                (268, rows.collect())
            }
            _ => continue,
        };
        let at = |offset: usize| block + offset;
        found.push((
            key,
            Touchline {
                code,
                bid: (long(&body, at(0)), double(&body, at(8))),
                ask: (long(&body, at(22)), double(&body, at(30))),
                ltp: double(&body, at(52)),
                ltq: long(&body, at(60)),
                totals: (long(&body, at(68)), long(&body, at(76))),
                volume: long(&body, at(84)),
                average: double(&body, at(92)),
                last_trade_time: long(&body, at(100)),
                ohlc: [116, 124, 132, 140].map(|o| double(&body, at(o))),
                book,
            },
        ));
    }
    found
}

fn long(body: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(body[at..at + 8].try_into().unwrap())
}

fn double(body: &[u8], at: usize) -> f64 {
    f64::from_le_bytes(body[at..at + 8].try_into().unwrap())
}

fn int(body: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(body[at..at + 4].try_into().unwrap())
}
