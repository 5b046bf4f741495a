//! Holdings and the profile as REST answers bring them: objects whose members' names are data.
//! Not the books that are lists of rows (`books`).
//!
//! Source: the two shapes of holdings in official documentation and SDKs, and in third-party
//! clients of live servers.

use std::collections::BTreeMap;

use crate::market::{Holding, Profile};

use super::books::{Book, NotABook, elements, part};
use super::row::{Fault, Row, fault, is_absent};
use super::text::Raw;

/// Reads the holdings: `RMSHoldings` with one map of them, or `RMSHoldingList` with several.
///
/// `CollateralHoldingList` tells of pledged units. Where a holding stands in both, the pledged
/// ones are a part of it and not added a second time; what stands there alone is pledged as a
/// whole.
///
/// # Errors
/// [`NotABook`].
pub fn holdings(result: Raw<'_>) -> Result<Book<Holding>, NotABook> {
    let mut book = Book::default();
    let Some(raw) = result.map(|r| r.get().trim()).filter(|raw| !is_absent(raw) && *raw != "[]") else {
        return Ok(book);
    };
    // In some answers of other calls an object stands in a list of one.
    let list = if raw.starts_with('[') { elements(result, "")? } else { Vec::new() };
    let raw = list.first().map_or(raw, |first| first.get());
    if list.len() > 1 {
        return Err(NotABook);
    }
    let object = Row::parse(raw).ok_or(NotABook)?;
    let (single, many) = (object.member("RMSHoldings"), object.member("RMSHoldingList"));
    let collateral = object.member("CollateralHoldingList");
    let is_known =
        ["RMSHoldings", "RMSHoldingList", "CollateralHoldingList"].iter().any(|key| object.has(key));
    if !is_known {
        return if object.is_empty() { Ok(book) } else { Err(NotABook) };
    }
    let account = object_text(&object, &["ClientId"]);
    let mut found = BTreeMap::new();
    for group in groups(single)?.into_iter().chain(groups(many)?) {
        read_group(&group, &account, &mut book, &mut |holding, gaps| {
            // Two lists may tell of the same holding, but never of another amount of it.
            let other = found.insert(holding.isin.clone(), (holding, gaps));
            other.map(|(holding, _): (Holding, _)| holding)
        });
    }
    let mut pledged = BTreeMap::new();
    for group in groups(collateral)? {
        read_group(&group, &account, &mut book, &mut |holding, gaps| {
            let other = pledged.insert(holding.isin.clone(), (holding, gaps));
            other.map(|(holding, _): (Holding, _)| holding)
        });
    }
    for (isin, (mut holding, gaps)) in pledged {
        let units = holding.collateral.filter(|units| *units > 0).unwrap_or(holding.quantity);
        if let Some((whole, _)) = found.get_mut(&isin) {
            if whole.collateral.unwrap_or(0) == 0 {
                whole.collateral = Some(units);
            }
        } else {
            holding.collateral = Some(units);
            found.insert(isin, (holding, gaps));
        }
    }
    for (holding, mut gaps) in found.into_values() {
        book.rows.push(holding);
        book.gaps.append(&mut gaps);
    }
    Ok(book)
}

fn object_text(object: &Row<'_>, keys: &[&'static str]) -> String {
    object.needed_text(keys).unwrap_or_default()
}

/// The objects that hold holdings: one, or those of a list.
fn groups(raw: Option<&str>) -> Result<Vec<Row<'_>>, NotABook> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if !raw.starts_with('[') {
        return Ok(vec![Row::parse(raw).ok_or(NotABook)?]);
    }
    let list: Vec<&serde_json::value::RawValue> = serde_json::from_str(raw).map_err(|_| NotABook)?;
    list.into_iter().map(|element| Row::parse(element.get()).ok_or(NotABook)).collect()
}

/// Hands every holding of a group to `keep`, which returns the one that it takes the place of.
fn read_group(
    group: &Row<'_>,
    account: &str,
    book: &mut Book<Holding>,
    keep: &mut dyn FnMut(Holding, Vec<Fault>) -> Option<Holding>,
) {
    let Some(inner) = group.member("Holdings") else {
        if !group.has("Holdings") && !group.is_empty() {
            book.lost.push(fault(&["Holdings"], true));
        }
        return;
    };
    let Some(entries) = Row::parse(inner) else {
        if inner != "[]" {
            book.lost.push(fault(&["Holdings"], false));
        }
        return;
    };
    for (isin, raw) in entries.entries() {
        let read = Row::parse(raw)
            .ok_or(Fault { key: "the row itself", is_missing: false })
            .and_then(|mut row| Ok((holding(&mut row, isin, account)?, row.gaps)));
        match read {
            Ok((holding, gaps)) => {
                let quantity = holding.quantity;
                if keep(holding, gaps).is_some_and(|other| other.quantity != quantity) {
                    book.lost.push(fault(&["HoldingQuantity"], false));
                }
            }
            Err(lost) => book.lost.push(lost),
        }
    }
}

fn holding(row: &mut Row<'_>, isin: &str, account: &str) -> Result<Holding, Fault> {
    let quantity_key = ["HoldingQuantity"];
    let quantity = row.needed_integer(&quantity_key)?;
    if quantity < 0 {
        return Err(fault(&quantity_key, false));
    }
    let named = row.text(&["ISIN"]);
    let own = row.text(&["ClientId"]);
    let mut code = |key: &'static str| {
        let number = row.integer(&[key])?;
        // Zero and minus one stand for "not there".
        u32::try_from(number).ok().filter(|code| *code > 0)
    };
    let (nse_code, bse_code) = (code("ExchangeNSEInstrumentId"), code("ExchangeBSEInstrumentId"));
    Ok(Holding {
        account: if own.is_empty() { account.to_owned() } else { own },
        isin: if named.is_empty() { isin.to_owned() } else { named },
        nse_code,
        bse_code,
        quantity,
        used: row.integer(&["UsedQuantity"]),
        collateral: row.integer(&["CollateralQuantity"]),
        average: row.price(&["BuyAvgPrice"]),
    })
}

/// Reads the profile: at most one row.
///
/// # Errors
/// [`NotABook`], also for an object without the client's code.
pub fn profile(result: Raw<'_>) -> Result<Book<Profile>, NotABook> {
    let mut book = Book::default();
    let Some(raw) = result.map(|r| r.get().trim()).filter(|raw| !is_absent(raw)) else {
        return Ok(book);
    };
    let list = if raw.starts_with('[') { elements(result, "")? } else { Vec::new() };
    let raw = match (raw.starts_with('['), list.first()) {
        (true, None) => return Ok(book),
        (true, Some(first)) => first.get(),
        (false, _) => raw,
    };
    let mut row = Row::parse(raw).ok_or(NotABook)?;
    if row.is_empty() {
        return Ok(book);
    }
    let client_id = row.text(&["ClientId"]);
    if client_id.is_empty() {
        return Err(NotABook);
    }
    let segments = part(&row, "ClientExchangeDetailsList").map(|details| {
        let enabled = details.entries().filter(|(_, raw)| {
            // Without the word it would not be listed.
            Row::parse(raw).and_then(|mut entry| entry.truth(&["Enabled"])) != Some(false)
        });
        enabled.map(|(name, _)| name.to_owned()).collect()
    });
    book.rows.push(Profile {
        client_id,
        name: row.text(&["ClientName"]),
        is_pro: row.truth(&["IsProClient"]),
        is_investor: row.truth(&["IsInvestorClient"]),
        segments: segments.unwrap_or_default(),
    });
    book.gaps = row.gaps;
    Ok(book)
}
