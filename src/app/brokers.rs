//! A broker for each account, and the simulated one that they share if they are simulated.
//! Not their sessions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use super::Error;
use crate::broker::Broker;
use crate::broker::xts::{self, Credentials, LoginKind, XtsBroker};
use crate::clock::Clock;
use crate::config::{Account, BrokerKind, Config, ProcessEnv, Secrets};
use crate::secret::Secret;
use crate::sim::{AccountKind, DemoAccount, SimServer};

/// What tokens of the embedded simulator are bound to: its port changes with every start, its sessions do not.
const EMBEDDED: &str = "embedded simulator";

/// An account's broker.
pub(super) struct Upstream {
    pub(super) account: String,
    pub(super) broker: Arc<dyn Broker>,
}

/// The broker of every account, in the order of the configuration, and the simulator if they are simulated.
pub(super) async fn open(
    config: &Config,
    secrets: &Secrets,
    clock: &Arc<dyn Clock>,
) -> Result<(Vec<Upstream>, Option<SimServer>), Error> {
    let accounts = config.accounts.iter();
    match config.kind() {
        BrokerKind::Xts => {
            let opened = accounts.map(|account| {
                let credentials = secrets.xts.get(&account.name).cloned().unwrap_or_default();
                let broker = adapter(account, account.xts.clone(), credentials, clock)?
                    .access_token_in(&config.access_token_variable(&account.name))
                    .reloading(reader(config, &account.name));
                Ok(Upstream { account: account.name.clone(), broker: Arc::new(broker) })
            });
            Ok((opened.collect::<Result<_, Error>>()?, None))
        }
        BrokerKind::Sim => {
            let state: PathBuf = config.data_dir.join("sim.json");
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let sim = SimServer::start(config.simulator(), listen, Some(state), Arc::clone(clock)).await?;
            let keys = sim_credentials(&sim, &config.sim.access_token);
            if keys.len() < config.accounts.len() {
                return Err(Error::DemoAccounts { has: keys.len(), needed: config.accounts.len() });
            }
            let opened = accounts.zip(keys).map(|(account, credentials)| {
                let broker = adapter(account, xts_settings(config, sim.addr()), credentials, clock)?;
                let broker = broker.issued_by(EMBEDDED);
                Ok(Upstream { account: account.name.clone(), broker: Arc::new(broker) })
            });
            let opened = opened.collect::<Result<_, Error>>()?;
            Ok((opened, Some(sim)))
        }
    }
}

/// Reads an account's credentials again, for a file that was mended while the server runs.
fn reader(config: &Config, account: &str) -> Box<dyn Fn() -> Option<Credentials> + Send + Sync> {
    let (config, account) = (config.clone(), account.to_owned());
    Box::new(move || match config.credentials(&account, &ProcessEnv) {
        Ok(credentials) => Some(credentials),
        Err(why) => {
            warn!(account, %why, "credentials cannot be read again");
            None
        }
    })
}

fn adapter(
    account: &Account,
    settings: xts::Settings,
    credentials: Credentials,
    clock: &Arc<dyn Clock>,
) -> Result<XtsBroker, Error> {
    XtsBroker::new(settings, credentials, &account.name, Arc::clone(clock))
        .map_err(|source| Error::Broker { account: account.name.clone(), source })
}

/// The keys of its demo accounts.
fn sim_credentials(sim: &SimServer, access_token: &str) -> Vec<Credentials> {
    let credentials = |DemoAccount { keys, .. }: DemoAccount| Credentials {
        market: Some(app_key(&keys.market_app_key, &keys.market_secret_key)),
        interactive: Some(app_key(&keys.interactive_app_key, &keys.interactive_secret_key)),
        access_token: (!access_token.is_empty()).then(|| Secret::new(access_token)),
    };
    sim.all_credentials().into_iter().map(credentials).collect()
}

/// No key of `[broker.xts]` counts for the simulator.
fn xts_settings(config: &Config, address: SocketAddr) -> xts::Settings {
    let login = if config.sim.hostlookup {
        LoginKind::Hostlookup
    } else if config.sim.access_token.is_empty() {
        LoginKind::Direct
    } else {
        LoginKind::AccessToken
    };
    let client_id = if config.sim.account_kind == AccountKind::Pro { "*****" } else { "" };
    xts::Settings {
        base_url: format!("http://{address}"),
        login,
        client_id: client_id.to_owned(),
        max_subscriptions: config.sim.max_subscriptions,
        // Nobody's rate limits to respect.
        request_interval_ms: 0,
        book_interval_ms: 0,
        subscription_interval_ms: 10,
        quotes_interval_ms: 0,
        orders_per_s: 0,
        ..xts::Settings::default()
    }
}

fn app_key(key: &str, secret: &str) -> xts::AppKey {
    xts::AppKey { key: Secret::new(key), secret: Secret::new(secret) }
}
