//! What can be traded and how it is named. Not where the names come from: `master`.

use std::fmt;

/// A venue's market segment, with the venue's number.
///
/// Source: XTS `GET {md}/config/clientConfig`, `exchangeSegments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Segment {
    /// NSE cash (XTS `NSECM`).
    NseCash = 1,
    /// NSE futures and options (`NSEFO`).
    NseFo = 2,
    /// NSE currency (`NSECD`).
    NseCurrency = 3,
    /// BSE cash (`BSECM`).
    BseCash = 11,
    /// BSE futures and options (`BSEFO`).
    BseFo = 12,
    /// MCX commodities (`MCXFO`).
    Mcx = 51,
}

impl Segment {
    /// Every segment tickgate knows.
    pub const ALL: [Self; 6] =
        [Self::NseCash, Self::NseFo, Self::NseCurrency, Self::BseCash, Self::BseFo, Self::Mcx];

    /// The venue's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The exchange whose hours it keeps, by its instruments that trade: indices have the same.
    pub const fn exchange(self) -> Exchange {
        match self {
            Self::NseCash => Exchange::Nse,
            Self::NseFo => Exchange::Nfo,
            Self::NseCurrency => Exchange::Cds,
            Self::BseCash => Exchange::Bse,
            Self::BseFo => Exchange::Bfo,
            Self::Mcx => Exchange::Mcx,
        }
    }

    /// Its place in [`Self::ALL`].
    pub const fn position(self) -> usize {
        match self {
            Self::NseCash => 0,
            Self::NseFo => 1,
            Self::NseCurrency => 2,
            Self::BseCash => 3,
            Self::BseFo => 4,
            Self::Mcx => 5,
        }
    }

    /// From the venue's number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|s| i64::from(s.number()) == number)
    }

    /// The venue's name, as the instrument master and order calls spell it.
    pub const fn xts_name(self) -> &'static str {
        match self {
            Self::NseCash => "NSECM",
            Self::NseFo => "NSEFO",
            Self::NseCurrency => "NSECD",
            Self::BseCash => "BSECM",
            Self::BseFo => "BSEFO",
            Self::Mcx => "MCXFO",
        }
    }

    /// From the venue's name.
    pub fn from_xts_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.xts_name() == name)
    }

    /// Whether contracts here carry open interest.
    pub const fn has_open_interest(self) -> bool {
        !matches!(self, Self::NseCash | Self::BseCash)
    }
}

/// An instrument's identity: the venue's number alone is not unique across segments, and
/// derivatives' numbers are re-used after expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId {
    /// Segment it trades in.
    pub segment: Segment,
    /// The venue's number within the segment.
    pub code: u32,
}

impl fmt::Display for InstrumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment.xts_name(), self.code)
    }
}

/// OpenAlgo's exchange code: what consumers name an instrument's market by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the exchanges' own")]
pub enum Exchange {
    Nse,
    Bse,
    Nfo,
    Bfo,
    Cds,
    Mcx,
    NseIndex,
    BseIndex,
}

impl Exchange {
    /// Every exchange code tickgate serves.
    pub const ALL: [Self; 8] =
        [Self::Nse, Self::Bse, Self::Nfo, Self::Bfo, Self::Cds, Self::Mcx, Self::NseIndex, Self::BseIndex];

    /// As OpenAlgo spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nse => "NSE",
            Self::Bse => "BSE",
            Self::Nfo => "NFO",
            Self::Bfo => "BFO",
            Self::Cds => "CDS",
            Self::Mcx => "MCX",
            Self::NseIndex => "NSE_INDEX",
            Self::BseIndex => "BSE_INDEX",
        }
    }

    /// From OpenAlgo's spelling, which is case-sensitive.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == text)
    }

    /// The segment its instruments trade in.
    pub const fn segment(self) -> Segment {
        match self {
            Self::Nse | Self::NseIndex => Segment::NseCash,
            Self::Bse | Self::BseIndex => Segment::BseCash,
            Self::Nfo => Segment::NseFo,
            Self::Bfo => Segment::BseFo,
            Self::Cds => Segment::NseCurrency,
            Self::Mcx => Segment::Mcx,
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
