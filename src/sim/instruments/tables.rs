//! The shares and indices on offer. Not their prices' movement; the prices here are previous
//! closes, of the right order of magnitude and nothing more.
//!
//! Codes are the exchanges' public ones: those of the eight shares with an ISIN and of the NSE
//! indices stand in XTS documentation and its SDKs, BSE's SENSEX and BANKEX in OpenAlgo; the
//! other BSE indices' codes are composed.

/// `(symbol, NSE code, BSE code or 0, company, ISIN where known, previous close in paise)`.
pub(super) type Share = (&'static str, u32, u32, &'static str, &'static str, i64);

/// Most traded first: a replay gives the first of them every message of the capture.
#[rustfmt::skip]
pub(super) const SHARES: [Share; 92] = [
    ("RELIANCE", 2885, 500_325, "RELIANCE INDUSTRIES LTD", "INE002A01018", 145_000),
    ("HDFCBANK", 1333, 500_180, "HDFC BANK LTD", "INE040A01034", 99_250),
    ("TCS", 11536, 532_540, "TATA CONSULTANCY SERV LT", "INE467B01029", 298_630),
    ("INFY", 1594, 500_209, "INFOSYS LIMITED", "INE009A01021", 151_240),
    ("ICICIBANK", 4963, 532_174, "ICICI BANK LTD.", "INE090A01021", 140_310),
    ("SBIN", 3045, 500_112, "STATE BANK OF INDIA", "INE062A01020", 106_480),
    ("ITC", 1660, 500_875, "ITC LTD", "INE154A01025", 41_365),
    ("ACC", 22, 500_410, "ACC LIMITED", "INE012A01025", 167_210),
    ("LT", 11483, 500_510, "LARSEN & TOUBRO LTD.", "", 391_520),
    ("AXISBANK", 5900, 532_215, "AXIS BANK LIMITED", "", 133_770),
    ("KOTAKBANK", 1922, 500_247, "KOTAK MAHINDRA BANK LTD", "", 42_515),
    ("HINDUNILVR", 1394, 500_696, "HINDUSTAN UNILEVER LTD.", "", 237_460),
    ("BHARTIARTL", 10604, 532_454, "BHARTI AIRTEL LIMITED", "", 201_980),
    ("BAJFINANCE", 317, 500_034, "BAJAJ FINANCE LIMITED", "", 98_145),
    ("ASIANPAINT", 236, 500_820, "ASIAN PAINTS LIMITED", "", 241_350),
    ("MARUTI", 10999, 532_500, "MARUTI SUZUKI INDIA LTD.", "", 1_512_300),
    ("SUNPHARMA", 3351, 524_715, "SUN PHARMACEUTICAL IND L", "", 170_240),
    ("TITAN", 3506, 500_114, "TITAN COMPANY LIMITED", "", 418_620),
    ("ULTRACEMCO", 11532, 532_538, "ULTRATECH CEMENT LIMITED", "", 1_285_400),
    ("WIPRO", 3787, 507_685, "WIPRO LTD", "", 23_114),
    ("NESTLEIND", 17963, 500_790, "NESTLE INDIA LIMITED", "", 129_430),
    ("HCLTECH", 7229, 532_281, "HCL TECHNOLOGIES LTD", "", 159_270),
    ("TATASTEEL", 3499, 500_470, "TATA STEEL LIMITED", "", 20_318),
    ("NTPC", 11630, 532_555, "NTPC LTD", "", 36_285),
    ("POWERGRID", 14977, 0, "POWER GRID CORP. LTD.", "", 29_135),
    ("M&M", 2031, 0, "MAHINDRA & MAHINDRA LTD", "", 357_840),
    ("BAJAJFINSV", 16675, 0, "BAJAJ FINSERV LTD.", "", 201_120),
    ("TECHM", 13538, 0, "TECH MAHINDRA LIMITED", "", 162_930),
    ("ADANIENT", 25, 0, "ADANI ENTERPRISES LIMITED", "", 221_470),
    ("ADANIPORTS", 15083, 0, "ADANI PORT & SEZ LTD", "", 152_680),
    ("ONGC", 2475, 0, "OIL AND NATURAL GAS CORP.", "", 26_895),
    ("COALINDIA", 20374, 0, "COAL INDIA LTD", "", 43_120),
    ("JSWSTEEL", 11723, 0, "JSW STEEL LIMITED", "", 124_350),
    ("GRASIM", 1232, 0, "GRASIM INDUSTRIES LTD", "", 285_610),
    ("HINDALCO", 1363, 0, "HINDALCO INDUSTRIES LTD", "", 95_315),
    ("INDUSINDBK", 5258, 0, "INDUSIND BANK LIMITED", "", 91_640),
    ("CIPLA", 694, 0, "CIPLA LTD", "", 134_260),
    ("DRREDDY", 881, 0, "DR. REDDY S LABORATORIES", "", 125_380),
    ("DIVISLAB", 10940, 0, "DIVI S LABORATORIES LTD", "", 621_750),
    ("EICHERMOT", 910, 0, "EICHER MOTORS LTD", "", 722_400),
    ("BRITANNIA", 547, 0, "BRITANNIA INDUSTRIES LTD", "", 587_350),
    ("APOLLOHOSP", 157, 0, "APOLLO HOSPITALS ENTER. L", "", 711_850),
    ("BAJAJ-AUTO", 16669, 0, "BAJAJ AUTO LIMITED", "", 954_200),
    ("HEROMOTOCO", 1348, 0, "HERO MOTOCORP LIMITED", "", 568_950),
    ("SBILIFE", 21808, 0, "SBI LIFE INSURANCE CO LTD", "", 202_370),
    ("HDFCLIFE", 467, 0, "HDFC LIFE INS CO LTD", "", 70_845),
    ("TATACONSUM", 3432, 0, "TATA CONSUMER PRODUCT LTD", "", 115_290),
    ("BPCL", 526, 0, "BHARAT PETROLEUM CORP LT", "", 38_410),
    ("UPL", 11287, 0, "UPL LIMITED", "", 73_265),
    ("SHREECEM", 3103, 0, "SHREE CEMENT LIMITED", "", 2_648_500),
    ("VEDL", 3063, 0, "VEDANTA LIMITED", "", 68_235),
    ("IOC", 1624, 0, "INDIAN OIL CORP LTD", "", 17_426),
    ("GAIL", 4717, 0, "GAIL (INDIA) LTD", "", 16_483),
    ("DLF", 14732, 0, "DLF LIMITED", "", 64_780),
    ("PIDILITIND", 2664, 0, "PIDILITE INDUSTRIES LTD", "", 147_910),
    ("DABUR", 772, 0, "DABUR INDIA LTD", "", 51_240),
    ("GODREJCP", 10099, 0, "GODREJ CONSUMER PRODUCTS", "", 118_360),
    ("HAVELLS", 9819, 0, "HAVELLS INDIA LIMITED", "", 139_430),
    ("SIEMENS", 3150, 0, "SIEMENS LTD", "", 316_480),
    ("AMBUJACEM", 1270, 0, "AMBUJA CEMENTS LTD", "", 52_315),
    ("BANKBARODA", 4668, 0, "BANK OF BARODA", "", 28_640),
    ("PNB", 10666, 0, "PUNJAB NATIONAL BANK", "", 12_218),
    ("CANBK", 10794, 0, "CANARA BANK", "", 14_527),
    ("FEDERALBNK", 1023, 0, "FEDERAL BANK LTD", "", 28_365),
    ("IDFCFIRSTB", 11184, 0, "IDFC FIRST BANK LIMITED", "", 8_342),
    ("LUPIN", 10440, 0, "LUPIN LIMITED", "", 218_390),
    ("AUROPHARMA", 275, 0, "AUROBINDO PHARMA LTD", "", 117_640),
    ("BIOCON", 11373, 0, "BIOCON LIMITED", "", 38_115),
    ("BHEL", 438, 0, "BHEL", "", 26_590),
    ("BEL", 383, 0, "BHARAT ELECTRONICS LTD", "", 43_475),
    ("HAL", 2303, 0, "HINDUSTAN AERONAUTICS LTD", "", 418_250),
    ("SAIL", 2963, 0, "STEEL AUTHORITY OF INDIA", "", 15_234),
    ("NMDC", 15332, 0, "NMDC LTD.", "", 8_156),
    ("JINDALSTEL", 6733, 0, "JINDAL STEEL & POWER LTD", "", 113_480),
    ("TATAPOWER", 3426, 0, "TATA POWER CO LTD", "", 36_720),
    ("TRENT", 1964, 0, "TRENT LTD", "", 398_640),
    ("ZEEL", 3812, 0, "ZEE ENTERTAINMENT ENT LTD", "", 8_937),
    ("YESBANK", 11915, 0, "YES BANK LIMITED", "", 2_134),
    ("IDEA", 14366, 0, "VODAFONE IDEA LIMITED", "", 1_127),
    ("ETERNAL", 5097, 0, "ETERNAL LIMITED", "", 28_415),
    ("INDIGO", 11195, 0, "INTERGLOBE AVIATION LTD", "", 487_650),
    ("IRCTC", 13611, 0, "INDIAN RAIL TOUR CORP LTD", "", 62_380),
    ("LICI", 9480, 0, "LIFE INSURA CORP OF INDIA", "", 85_265),
    ("MRF", 2277, 0, "MRF LTD", "", 14_523_500),
    ("PAGEIND", 14413, 0, "PAGE INDUSTRIES LTD", "", 3_412_500),
    ("BOSCHLTD", 2181, 0, "BOSCH LIMITED", "", 3_645_500),
    ("COLPAL", 15141, 0, "COLGATE PALMOLIVE LTD.", "", 214_370),
    ("MARICO", 4067, 0, "MARICO LIMITED", "", 75_635),
    ("PFC", 14299, 0, "POWER FIN CORP LTD.", "", 41_290),
    ("RECLTD", 15355, 0, "REC LIMITED", "", 36_945),
    ("JIOFIN", 18143, 0, "JIO FIN SERVICES LTD", "", 27_460),
    ("TATAELXSI", 3411, 0, "TATA ELXSI LIMITED", "", 538_950),
];

/// `(name in the index list, code, OpenAlgo's name, previous close in paise)`.
pub(super) type Index = (&'static str, u32, &'static str, i64);

/// Served by `indexlist` alone; the master has no rows for them.
#[rustfmt::skip]
pub(super) const NSE_INDICES: [Index; 11] = [
    ("NIFTY 50", 26000, "NIFTY", 2_586_730),
    ("NIFTY BANK", 26001, "BANKNIFTY", 6_021_540),
    ("INDIA VIX", 26002, "INDIAVIX", 1_178),
    ("NIFTY IT", 26003, "NIFTYIT", 3_564_215),
    ("NIFTY 100", 26004, "NIFTY100", 2_652_380),
    ("NIFTY FIN SERVICE", 26034, "FINNIFTY", 2_786_450),
    ("NIFTY METAL", 26036, "NIFTYMETAL", 1_164_525),
    ("NIFTY FMCG", 26041, "NIFTYFMCG", 5_187_340),
    ("NIFTY AUTO", 26052, "NIFTYAUTO", 2_748_115),
    ("NIFTY NEXT 50", 26054, "NIFTYNXT50", 6_894_260),
    ("NIFTY MID SELECT", 26121, "MIDCPNIFTY", 1_384_775),
];

/// Rows of series `SPOT` in BSE's master, and in its `indexlist`.
#[rustfmt::skip]
pub(super) const BSE_INDICES: [Index; 8] = [
    ("SENSEX", 1, "SENSEX", 8_402_360),
    ("BANKEX", 12, "BANKEX", 6_785_420),
    ("SNSX50", 47, "SENSEX50", 2_704_835),
    ("BSE IT", 21, "BSEINFORMATIONTECHNOLOGY", 3_412_670),
    ("AUTO", 22, "BSEAUTO", 6_134_250),
    ("METAL", 23, "BSEMETAL", 3_852_415),
    ("MIDCAP", 24, "BSEMIDCAP", 4_682_735),
    ("SMLCAP", 25, "BSESMALLCAP", 5_041_890),
];

/// `(name, day of the month it expires, tick in paise, lot, previous close in paise)`.
pub(super) type Commodity = (&'static str, i8, i64, u32, i64);

/// MCX futures. Lots follow the exchange's contract sizes in units of the quoted quantity.
pub(super) const COMMODITIES: [Commodity; 5] = [
    ("CRUDEOIL", 19, 100, 100, 581_300),
    ("NATURALGAS", 25, 10, 1250, 31_240),
    ("GOLD", 5, 100, 100, 15_612_800),
    ("SILVER", 5, 100, 30, 25_384_500),
    ("COPPER", 28, 5, 2500, 124_565),
];
