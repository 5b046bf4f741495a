//! Ticks as events with JSON in a string, one a frame: texts that were laid out once, with what moves put in.

use super::push_header;
use crate::load::ticks::{CLOSE, FIRST_CODE, HIGH, LAST_SIZE, LOW, Tick};

/// What moves in a text.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Last,
    Bid,
    Ask,
    Volume,
    Time,
    Change,
    Sequence,
    End,
}

/// Pieces of text, each followed by what moves.
type Text = Vec<(Vec<u8>, Slot)>;

pub(super) struct Encoder {
    texts: Vec<Text>,
    sequence: u64,
    scratch: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(symbols: usize, code: u16) -> Self {
        let texts = (0..symbols).map(|symbol| lay_out(symbol, code)).collect();
        Self { texts, sequence: 1_770_698_730_000_000, scratch: Vec::new() }
    }

    pub(super) fn encode(&mut self, ticks: &[Tick], time: i64, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        for tick in ticks {
            self.sequence += 1;
            self.scratch.clear();
            let price = tick.price();
            for (piece, slot) in &self.texts[tick.symbol] {
                self.scratch.extend_from_slice(piece);
                let whole = match slot {
                    Slot::Last => {
                        push_rupees(price, &mut self.scratch);
                        continue;
                    }
                    Slot::Bid => {
                        push_rupees(price - 5, &mut self.scratch);
                        continue;
                    }
                    Slot::Ask => {
                        push_rupees(price + 5, &mut self.scratch);
                        continue;
                    }
                    Slot::Change => {
                        push_change(price, &mut self.scratch);
                        continue;
                    }
                    Slot::Volume => tick.volume(),
                    Slot::Time => time as u64,
                    Slot::Sequence => self.sequence,
                    Slot::End => continue,
                };
                self.scratch.extend_from_slice(digits.format(whole).as_bytes());
            }
            push_header(1, self.scratch.len(), out);
            out.extend_from_slice(&self.scratch);
        }
    }
}

/// As JavaScript prints it: without zeros at the end.
fn push_rupees(paise: i64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(paise / 100).as_bytes());
    match paise % 100 {
        0 => {}
        rest if rest % 10 == 0 => out.extend_from_slice(&[b'.', b'0' + (rest / 10) as u8]),
        rest => out.extend_from_slice(&[b'.', b'0' + (rest / 10) as u8, b'0' + (rest % 10) as u8]),
    }
}

/// Per cent with as many decimals as the venue shows.
fn push_change(price: i64, out: &mut Vec<u8>) {
    let scaled = i128::from(price - CLOSE) * 10_i128.pow(15) / i128::from(CLOSE);
    let (whole, rest) = (scaled.unsigned_abs() / 10_u128.pow(13), scaled.unsigned_abs() % 10_u128.pow(13));
    if scaled < 0 {
        out.push(b'-');
    }
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(whole).as_bytes());
    // A leading one keeps the zeros behind the point; it becomes the point.
    let point = out.len();
    out.extend_from_slice(digits.format(rest + 10_u128.pow(13)).as_bytes());
    out[point] = b'.';
}

fn lay_out(symbol: usize, code: u16) -> Text {
    let id = FIRST_CODE + symbol;
    let rupees = |paise: i64| format!("{}.{:02}", paise / 100, paise % 100);
    let row = |size: i64, price: &str| {
        format!("{{\"Size\":{size},\"Price\":{price},\"TotalOrders\":3,\"BuyBackMarketMaker\":0}}")
    };
    let (bid, ask) = (row(120, "<bid>"), row(85, "<ask>"));
    let day = format!(
        "\"LastTradedPrice\":<last>,\"LastTradedQunatity\":{LAST_SIZE},\"TotalBuyQuantity\":312345,\
         \"TotalSellQuantity\":401234,\"TotalTradedQuantity\":<volume>,\"AverageTradedPrice\":{close},\
         \"LastTradedTime\":<time>,\"LastUpdateTime\":<time>,\"PercentChange\":<change>,\"Open\":{low},\
         \"High\":{high},\"Low\":{low},\"Close\":{close},\"TotalValueTraded\":null",
        low = rupees(LOW),
        high = rupees(HIGH),
        close = rupees(CLOSE),
    );
    let inner = if code == 1502 {
        let side = |best: &str, step: i64| {
            let level = |level: i64| row(100 + level, &rupees(LOW + 500 + step * (level + 1)));
            let rest: Vec<_> = (1..5).map(level).collect();
            format!("{},{}", row(100, best), rest.join(","))
        };
        format!(
            "{{\"MessageCode\":1502,\"MessageVersion\":4,\"ApplicationType\":0,\"TokenID\":0,\"ExchangeSegment\":1,\
             \"ExchangeInstrumentID\":{id},\"ExchangeTimeStamp\":<time>,\"Bids\":[{}],\"Asks\":[{}],\
             \"Touchline\":{{\"BidInfo\":{bid},\"AskInfo\":{ask},{day},\"BuyBackTotalBuy\":0,\
             \"BuyBackTotalSell\":0}},\"BookType\":1,\"XMarketType\":1,\"SequenceNumber\":<sequence>}}",
            side("<bid>", -10),
            side("<ask>", 10),
        )
    } else {
        format!(
            "{{\"MessageCode\":1501,\"ExchangeSegment\":1,\"ExchangeInstrumentID\":{id},{day},\"AskInfo\":{ask},\
             \"BidInfo\":{bid},\"XMarketType\":1,\"BookType\":1}}"
        )
    };
    cut(&format!("42[\"{code}-json-full\",\"{}\"]", inner.replace('"', "\\\"")))
}

/// Cuts a text at its `<slots>`.
fn cut(whole: &str) -> Text {
    let mut text = Text::new();
    let mut rest = whole;
    while let Some((piece, after)) = rest.split_once('<') {
        let (slot, after) = after.split_once('>').expect("a slot is closed");
        let slot = match slot {
            "last" => Slot::Last,
            "bid" => Slot::Bid,
            "ask" => Slot::Ask,
            "volume" => Slot::Volume,
            "time" => Slot::Time,
            "change" => Slot::Change,
            "sequence" => Slot::Sequence,
            other => panic!("no slot {other}"),
        };
        text.push((piece.as_bytes().to_vec(), slot));
        rest = after;
    }
    text.push((rest.as_bytes().to_vec(), Slot::End));
    text
}
