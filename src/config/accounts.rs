//! `[[accounts]]`: several accounts, each with the keys of `[broker]` where it does not set its own.
//! Not their secrets; those are `secrets`'s.

#[cfg(test)]
mod tests;

use serde::Deserialize;

use super::check;
use super::keys;
use super::overlay::{self, Apart};
use super::problem::{Place, Problem};
use super::reader;
use super::secrets;
use super::tree::{Node, Value};
use super::{BrokerKind, BrokerSettings};
use crate::broker::xts::{self, Profile};
use crate::token::Product;

/// Where they stand.
pub(super) const APART: Apart = Apart {
    key: "accounts",
    no_variable: "cannot be set by a variable; write [[accounts]] into the file (secrets are variables, as \
                  TICKGATE_ALICE_XTS_MARKET_APP_KEY for the account alice)",
};

/// One account at a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// Its name in the store, in status and in metrics.
    pub name: String,
    /// Which adapter.
    pub kind: BrokerKind,
    /// What `xts` was filled in from where it was not set.
    #[serde(deserialize_with = "xts::profiles::by_name")]
    pub profile: Option<&'static Profile>,
    /// The XTS adapter; of no account with the simulated broker.
    pub xts: xts::Settings,
}

impl Default for Account {
    fn default() -> Self {
        Self::of(&BrokerSettings::default())
    }
}

impl Account {
    /// The one account that `[broker]` describes.
    pub(super) fn of(broker: &BrokerSettings) -> Self {
        let BrokerSettings { account, kind, profile, xts } = broker.clone();
        Self { name: account, kind, profile, xts }
    }

    /// The sessions that the account has with its broker, by market-data app key, the first being 1.
    pub fn keys(&self) -> impl Iterator<Item = usize> + use<> {
        let keys = if self.kind == BrokerKind::Xts { self.xts.market_keys } else { 1 };
        1..=keys.min(xts::MAX_MARKET_KEYS)
    }

    /// What the session of a key is called in the store, in status and in metrics. No account's name has a slash.
    pub fn session(&self, key: usize) -> String {
        if key == 1 { self.name.clone() } else { format!("{}/{key}", self.name) }
    }

    /// What is logged in for.
    pub fn products(&self) -> Vec<Product> {
        let interactive = self.kind == BrokerKind::Sim || self.xts.interactive;
        Product::ALL.into_iter().filter(|product| *product == Product::Market || interactive).collect()
    }
}

/// An account's name as it stands in the names of variables.
pub(super) fn variable_part(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// The accounts in one line, with their servers if they are real ones.
pub(super) fn line(kind: BrokerKind, accounts: &[Account]) -> String {
    let noun = if accounts.len() == 1 { "account" } else { "accounts" };
    let url = |account: &Account| account.xts.base_url.trim_end_matches('/').to_owned();
    let names = || accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>().join(", ");
    let list = match (kind, accounts) {
        (BrokerKind::Sim, _) | (_, []) => names(),
        (BrokerKind::Xts, [first, rest @ ..]) if rest.iter().all(|other| url(other) == url(first)) => {
            format!("{} at {}", names(), url(first))
        }
        (BrokerKind::Xts, _) => {
            let each = accounts.iter().map(|account| format!("{} at {}", account.name, url(account)));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    format!("{}, {noun} {list}", kind.name())
}

/// An account, and where its keys stand.
pub(super) struct Placed {
    pub(super) account: Account,
    /// Its entry in the list; `None`: `[broker]`.
    entry: Option<Entry>,
}

struct Entry {
    index: usize,
    /// What it sets itself.
    own: Node,
}

impl Entry {
    fn dotted(&self, key: &str) -> String {
        format!("{}[{}].{key}", APART.key, self.index)
    }
}

impl Placed {
    /// Place and dotted name of a key, given as within an entry (`xts.base_url`): in the entry if it is set
    /// there, else where it is inherited from.
    fn key(&self, key: &str, tree: &Node) -> (Place, String) {
        if let Some(entry) = &self.entry {
            match entry.own.place_of(key) {
                Place::Unset if key == "name" => return (entry.own.place.clone(), entry.dotted(key)),
                Place::Unset => {}
                place => return (place, entry.dotted(key)),
            }
        }
        let dotted = if key == "name" { "broker.account".to_owned() } else { format!("broker.{key}") };
        (tree.place_of(&dotted), dotted)
    }

    fn problem(&self, key: &str, tree: &Node, message: impl Into<String>) -> Problem {
        let (place, key) = self.key(key, tree);
        Problem { place, key, message: message.into() }
    }
}

/// Reads the list, or makes one account of `broker` if there is none. `settings` is what `broker` was read from.
/// `None` stands for an account that cannot be told.
pub(super) fn read(
    list: Option<Node>,
    settings: &Node,
    broker: &BrokerSettings,
    problems: &mut Vec<Problem>,
) -> Vec<Option<Placed>> {
    let mut inherited = settings.clone().take("broker").unwrap_or_else(Node::empty);
    inherited.take("account");
    let Some(list) = list else {
        // What was accepted before is accepted again, and a profile's texts are sound.
        let account = filled_in(inherited).map_or_else(
            || Account::of(broker),
            |account| Account { name: broker.account.clone(), ..account },
        );
        return vec![Some(Placed { account, entry: None })];
    };
    let message = match list.value {
        Value::List(entries) if !entries.is_empty() => {
            let numbered = entries.into_iter().enumerate();
            return numbered.map(|(index, own)| read_entry(index, own, &inherited, problems)).collect();
        }
        Value::List(_) => "names no account; without the key there is one, broker.account",
        _ => "expected a list of tables; write each account under a line [[accounts]]",
    };
    problems.push(Problem { place: list.place, key: APART.key.to_owned(), message: message.to_owned() });
    vec![None]
}

fn read_entry(index: usize, mut own: Node, inherited: &Node, problems: &mut Vec<Problem>) -> Option<Placed> {
    if !matches!(own.value, Value::Table(_)) {
        let key = format!("{}[{index}]", APART.key);
        let message = "expected a table; write each account under a line [[accounts]]".to_owned();
        problems.push(Problem { place: own.place, key, message });
        return None;
    }
    let known = keys::of::<Account>();
    let name = own.text("name").map(str::to_owned);
    let explain = |key: &str| match secrets::hint(key, name.as_deref()) {
        Some(hint) => hint,
        None if key == "account" => "unknown key; an entry's name is its key name".to_owned(),
        None => overlay::explain(key, &known),
    };
    // By itself first: what is wrong with the inherited keys is said where they stand.
    let (_, wrong) = reader::read::<Account>(&mut own, explain);
    let name_is_wrong = wrong.iter().any(|problem| problem.key == "name");
    let entry = Entry { index, own };
    problems.extend(wrong.into_iter().map(|problem| Problem { key: entry.dotted(&problem.key), ..problem }));
    if name.is_none() {
        if !name_is_wrong {
            let (place, key) = (entry.own.place.clone(), entry.dotted("name"));
            problems.push(Problem { place, key, message: "is missing: every account has a name".to_owned() });
        }
        return None;
    }
    let mut whole = entry.own.clone();
    whole.inherit(inherited);
    // Both parts were accepted, so that the whole is.
    Some(Placed { account: filled_in(whole)?, entry: Some(entry) })
}

/// Reads an account's keys; its profile fills in those that are set nowhere.
fn filled_in(mut keys: Node) -> Option<Account> {
    let account = reader::read::<Account>(&mut keys, str::to_owned).0?;
    let Some(profile) = account.profile else { return Some(account) };
    let mut base = Node::empty();
    for (key, text) in profile.keys() {
        base.put(&format!("xts.{key}"), Place::Unset, Value::Text(text.to_owned()));
    }
    keys.inherit(&base);
    reader::read::<Account>(&mut keys, str::to_owned).0
}

/// Every value that cannot be, for each account and between them. `false`: names are among it.
pub(super) fn check(
    accounts: &[Placed],
    broker: &BrokerSettings,
    tree: &Node,
    problems: &mut Vec<Problem>,
) -> bool {
    for account in accounts {
        for (key, message) in check::account(&account.account) {
            problems.push(account.problem(&format!("xts.{key}"), tree, message));
        }
        if let (BrokerKind::Sim, Some(profile)) = (account.account.kind, account.account.profile) {
            let message =
                format!("{} is a real broker; with kind = \"sim\" there is no profile", profile.name);
            problems.push(account.problem("profile", tree, message));
        }
    }
    if let Some((first, rest)) = accounts.split_first()
        && let Some(other) = rest.iter().find(|other| other.account.kind != first.account.kind)
    {
        // At least one of the two sets it itself.
        let told = if other.key("kind", tree).0 == Place::Unset { first } else { other };
        let what = |placed: &Placed| format!("{} is {}", placed.account.name, placed.account.kind.name());
        let message =
            format!("simulated and real accounts cannot be mixed: {}, {}", what(first), what(other));
        problems.push(told.problem("kind", tree, message));
    }
    let before = problems.len();
    for (position, account) in accounts.iter().enumerate() {
        problems.extend(wrong_name(account, &accounts[..position]).map(|m| account.problem("name", tree, m)));
    }
    let listed = accounts.iter().any(|account| account.entry.is_some());
    // Its default stands in the shipped file and means nothing.
    let unnamed = BrokerSettings::default().account;
    if listed && broker.account != unnamed && !accounts.iter().any(|a| a.account.name == broker.account) {
        let message =
            format!("{} is no account of [[accounts]], beside which this key does not count", broker.account);
        let key = "broker.account".to_owned();
        problems.push(Problem { place: tree.place_of(&key), key, message });
    }
    problems.len() == before
}

fn wrong_name(placed: &Placed, earlier: &[Placed]) -> Option<String> {
    let name = &placed.account.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // It becomes part of file names, store keys and metric labels.
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        let rule = "must have 1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.', and no '.' first";
        return Some(rule.to_owned());
    }
    let part = variable_part(name);
    let same = earlier.iter().find(|other| variable_part(&other.account.name) == part)?;
    let other = &same.account.name;
    Some(if other == name {
        format!("{name} is another account's name already")
    } else {
        format!("{name} and {other} would share the variables TICKGATE_{part}_XTS_…; rename one of them")
    })
}
