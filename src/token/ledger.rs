//! How many logins each account and product had on which day in India: what the daily cap and the
//! least interval are counted by. Apart from the tokens, so that it survives a wrong Fernet key
//! and a process that is killed again and again. Decides nothing.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;
use crate::store::{Error, Store, Tree};
use crate::token::Product;

const TREE: &str = "logins";

/// One day's logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The day in India.
    pub day: Date,
    /// Attempts that the broker answered, with a token or a refusal, and those whose outcome is
    /// not known because the process was killed.
    pub attempts: u32,
    /// Of these, the ones that brought a token.
    pub logins: u32,
    /// When the last attempt began.
    pub last_attempt: Option<UnixNanos>,
    /// When the last login brought its token, on whatever day.
    pub last_login: Option<UnixNanos>,
}

impl Default for Count {
    fn default() -> Self {
        Self { day: Date::ZERO, attempts: 0, logins: 0, last_attempt: None, last_login: None }
    }
}

impl Count {
    /// The count as it stands on `day`: a new day begins with nothing.
    #[must_use]
    pub fn on(self, day: Date) -> Self {
        if self.day == day { self } else { Self { day, attempts: 0, logins: 0, ..self } }
    }
}

/// The counts on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    tree: Tree,
}

#[derive(Serialize, Deserialize)]
struct Row {
    day: String,
    attempts: u32,
    logins: u32,
    last_attempt_ms: Option<i64>,
    last_login_ms: Option<i64>,
}

impl Ledger {
    /// The counts in `store`.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn open(store: &Store) -> Result<Self, Error> {
        Ok(Self { tree: store.tree(TREE)? })
    }

    /// The last count that was written; nothing if there is none or it cannot be read.
    pub fn read(&self, account: &str, product: Product) -> Count {
        let row = match self.tree.get(&key(account, product)) {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(%product, %error, "the count of logins cannot be read; it starts anew");
                None
            }
        };
        let Some(row) = row.and_then(|row| serde_json::from_slice::<Row>(&row).ok()) else {
            return Count::default();
        };
        Count {
            day: row.day.parse().unwrap_or(Date::ZERO),
            attempts: row.attempts,
            logins: row.logins,
            last_attempt: row.last_attempt_ms.map(UnixNanos::from_millis),
            last_login: row.last_login_ms.map(UnixNanos::from_millis),
        }
    }

    /// Writes a count; on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn write(&self, account: &str, product: Product, count: Count) -> Result<(), Error> {
        let row = Row {
            day: count.day.to_string(),
            attempts: count.attempts,
            logins: count.logins,
            last_attempt_ms: count.last_attempt.map(UnixNanos::as_millis),
            last_login_ms: count.last_login.map(UnixNanos::as_millis),
        };
        let row = serde_json::to_vec(&row).map_err(|e| Error::Failed(e.to_string()))?;
        self.tree.insert(&key(account, product), &row)?;
        self.tree.flush().await
    }
}

/// The product comes first: its name has no slash, an account's may.
fn key(account: &str, product: Product) -> Vec<u8> {
    format!("{product}/{account}").into_bytes()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn counts_are_kept_by_account_and_product_and_start_anew_each_day() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        let ledger = Ledger::open(&store).unwrap();
        assert_eq!(ledger.read("a", Product::Market), Count::default());
        let day = date(2026, 2, 10);
        let at = |ms| Some(UnixNanos::from_millis(ms));
        let count = Count { day, attempts: 3, logins: 2, last_attempt: at(7), last_login: at(8) };
        ledger.write("a", Product::Market, count).await.unwrap();
        assert_eq!(ledger.read("a", Product::Market), count);
        assert_eq!(ledger.read("b", Product::Market), Count::default());
        assert_eq!(ledger.read("a", Product::Interactive), Count::default());
        assert_eq!(count.on(day), count);
        let tomorrow = count.on(date(2026, 2, 11));
        assert_eq!((tomorrow.attempts, tomorrow.logins, tomorrow.last_attempt), (0, 0, count.last_attempt));
    }

    #[tokio::test]
    async fn nonsense_is_no_count() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &SystemClock).unwrap();
        store.tree(TREE).unwrap().insert(&key("a", Product::Market), b"{").unwrap();
        assert_eq!(Ledger::open(&store).unwrap().read("a", Product::Market), Count::default());
    }
}
