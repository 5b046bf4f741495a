//! Time and memory to load an instrument master of 300,000 rows.
//! Not a timed test: it prints, and compares nothing.
//!
//! `cargo bench --bench master`, or with `-- --smoke` a short run that only proves that it works.
//! The proportions of the segments are those that the official .NET client logged in February 2023.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;

use tickgate::market::{Exchange, Master, MasterBuilder};
use tokio::time::Instant;

const INDICES: [&str; 5] =
    ["NIFTY 50_26000", "NIFTY BANK_26001", "INDIA VIX_26002", "NIFTY IT_26003", "NIFTY FIN SERVICE_26034"];

/// As the master has them, and as display names have them.
const EXPIRIES: [(&str, &str); 7] = [
    ("2026-02-17T14:30:00", "17FEB2026"),
    ("2026-02-24T14:30:00", "24FEB2026"),
    ("2026-03-03T14:30:00", "03MAR2026"),
    ("2026-03-30T14:30:00", "30MAR2026"),
    ("2026-04-28T14:30:00", "28APR2026"),
    ("2026-06-30T14:30:00", "30JUN2026"),
    ("2026-12-29T14:30:00", "29DEC2026"),
];

/// A prime above the number of instruments: stepping by it visits each once.
const STEP: usize = 7_368_787;

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let (rows, rounds) = if smoke { (3_000, 1) } else { (300_000, 5) };

    let text = generate(rows);
    println!("{rows} rows, {:.1} MiB of text, resident {}", mib(text.len()), resident("VmRSS"));

    for round in 1..=rounds {
        let started = Instant::now();
        let mut builder = MasterBuilder::new();
        builder.add_rows(&text);
        let master = finish(builder, rows);
        println!("whole text   {round}: {:>5.1} ms", started.elapsed().as_secs_f64() * 1e3);
        // Later rounds would show what the allocator keeps for itself.
        if round == 1 {
            println!("  with text and master: resident {}, peak {}", resident("VmRSS"), resident("VmHWM"));
        }
        black_box(&master);
    }
    for round in 1..=rounds {
        let started = Instant::now();
        let mut builder = MasterBuilder::new();
        for chunk in text.as_bytes().chunks(64 * 1024) {
            builder.add_chunk(chunk);
        }
        let master = finish(builder, rows);
        println!("64 KiB chunks {round}: {:>5.1} ms", started.elapsed().as_secs_f64() * 1e3);
        black_box(&master);
    }

    let mut builder = MasterBuilder::new();
    builder.add_rows(&text);
    let master = finish(builder, rows);
    look_up(&master);
}

fn finish(mut builder: MasterBuilder, rows: usize) -> Master {
    for entry in INDICES {
        builder.add_index(1, entry);
    }
    let (master, report) = builder.finish();
    assert_eq!(report.instruments, rows + INDICES.len(), "{report:?}");
    master
}

/// Every symbol once, in an order that is not the master's.
fn look_up(master: &Master) {
    let symbols: Vec<(Exchange, String)> =
        master.iter().map(|instrument| (instrument.exchange, instrument.symbol.to_owned())).collect();
    let order: Vec<usize> = (0..symbols.len()).map(|k| k * STEP % symbols.len()).collect();
    let started = Instant::now();
    for k in &order {
        let (exchange, symbol) = &symbols[*k];
        assert!(black_box(master.resolve(*exchange, symbol)).is_some());
    }
    println!("resolve: {:.0} ns a symbol", started.elapsed().as_secs_f64() * 1e9 / symbols.len() as f64);
}

fn generate(rows: usize) -> String {
    // A row takes about 170 bytes; the capacity is given back below, so that no growth of the
    // text is measured.
    let mut text = String::with_capacity(rows * 200);
    let nse_cash = rows * 8 / 320;
    let bse_cash = rows * 18 / 320;
    let mcx = rows * 6 / 320;
    let nse_derivatives = rows * 100 / 320;
    let bse_derivatives = rows - nse_cash - bse_cash - mcx - nse_derivatives;
    cash("NSECM", "EQ", 1, nse_cash, &mut text);
    derivatives("NSEFO", 35_000, nse_derivatives, &mut text);
    cash("BSECM", "A", 500_000, bse_cash, &mut text);
    derivatives("BSEFO", 800_000, bse_derivatives, &mut text);
    derivatives("MCXFO", 430_000, mcx, &mut text);
    text.shrink_to_fit();
    text
}

/// `AAAA`, `AAAB`, …
fn name(mut number: usize) -> String {
    let mut name = String::new();
    for _ in 0..4 {
        name.insert(0, char::from(b'A' + (number % 26) as u8));
        number /= 26;
    }
    name
}

fn cash(segment: &str, series: &str, first_id: usize, count: usize, text: &mut String) {
    for k in 0..count {
        let (name, id) = (name(k), first_id + k);
        let written = writeln!(
            text,
            "{segment}|{id}|8|{name}IND|{name}IND-{series}|{series}|{name}IND-{series}|11001{id:08}|1598|1307.6\
             |676621|0.1|1|1|{name} IND|INE{id:06}018|1|1|{name} INDUSTRIES LTD-{series}|0|1|1"
        );
        assert!(written.is_ok(), "a string takes all");
    }
}

/// Chains of 7 expiries with 1 future and 2 × 100 strikes each.
fn derivatives(segment: &str, first_id: usize, count: usize, text: &mut String) {
    for k in 0..count {
        let id = first_id + k;
        let (chain, place) = (k / 201, k % 201);
        let underlying = name(chain / EXPIRIES.len());
        let (expiry, day) = EXPIRIES[chain % EXPIRIES.len()];
        let written = if place == 0 {
            writeln!(
                text,
                "{segment}|{id}|1|{underlying}|{underlying}{day}FUT|FUTSTK|{underlying}-FUTSTK|26055{id:08}|28369.8\
                 |23211.8|1801|0.1|65|1|1100100002885|{underlying}|{expiry}|{underlying} {day}|1|1|{underlying}{day}FUT"
            )
        } else {
            let strike = 20_000 + (place - 1) / 2 * 50;
            let (right, right_name) = if place % 2 == 0 { (3, "CE") } else { (4, "PE") };
            let description = format!("{underlying}{}{strike}{right_name}", &day[..5]);
            writeln!(
                text,
                "{segment}|{id}|2|{underlying}|{description}|OPTSTK|{underlying}-OPTSTK|26048{id:08}|588|114.5|1801\
                 |0.05|65|1|1100100002885|{underlying}|{expiry}|{strike}|{right}|{underlying} {day} {right_name} {strike}\
                 |1|1|{description}"
            )
        };
        assert!(written.is_ok(), "a string takes all");
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// A figure of the process's memory, as the kernel prints it; only on Linux.
fn resident(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok()
    });
    kib.map_or_else(|| "unknown".to_owned(), |kib: usize| format!("{:.1} MiB", mib(kib * 1024)))
}
