//! A broker for each session (an account has one for each of its market-data app keys), and the simulated one that
//! they share if they are simulated. Not the sessions themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use super::Error;
use crate::broker::Broker;
use crate::broker::xts::{self, Credentials, LoginKind, XtsBroker};
use crate::clock::Clock;
use crate::config::{BrokerKind, Config, ProcessEnv, Secrets};
use crate::secret::Secret;
use crate::sim::{AccountKind, DemoAccount, SimServer};

/// What tokens of the embedded simulator are bound to: its port changes with every start, its sessions do not.
const EMBEDDED: &str = "embedded simulator";

/// The broker as one session sees it: with one market-data app key of an account, and with the interactive product
/// if that is the account's first.
pub(super) struct Upstream {
    /// The session's name.
    pub(super) name: String,
    pub(super) broker: Arc<dyn Broker>,
}

/// The broker of every session, the accounts in the order of the configuration and each one's sessions together,
/// and the simulator if they are simulated.
pub(super) async fn open(
    config: &Config,
    secrets: &Secrets,
    clock: &Arc<dyn Clock>,
) -> Result<(Vec<Upstream>, Option<SimServer>), Error> {
    let mut opened = Vec::new();
    match config.kind() {
        BrokerKind::Xts => {
            for account in &config.accounts {
                for key in account.keys() {
                    let name = account.session(key);
                    let credentials = secrets.xts.get(&name).cloned().unwrap_or_default();
                    let broker = adapter(&name, key, account.xts.clone(), credentials, clock)?
                        .access_token_in(&config.access_token_variable(&account.name))
                        .reloading(reader(config, &account.name, key));
                    opened.push(Upstream { name, broker: Arc::new(broker) });
                }
            }
            Ok((opened, None))
        }
        BrokerKind::Sim => {
            let state: PathBuf = config.data_dir.join("sim.json");
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let sim = SimServer::start(config.simulator(), listen, Some(state), Arc::clone(clock)).await?;
            let demo = sim.all_credentials();
            if demo.len() < config.accounts.len() {
                return Err(Error::DemoAccounts { has: demo.len(), needed: config.accounts.len() });
            }
            for (account, demo) in config.accounts.iter().zip(demo) {
                for (key, credentials) in (1..).zip(sim_credentials(&demo, &config.sim.access_token)) {
                    let name = account.session(key);
                    let settings = xts_settings(config, sim.addr());
                    let broker = adapter(&name, key, settings, credentials, clock)?.issued_by(EMBEDDED);
                    opened.push(Upstream { name, broker: Arc::new(broker) });
                }
            }
            Ok((opened, Some(sim)))
        }
    }
}

/// Reads a session's credentials again, for a file that was mended while the server runs.
fn reader(config: &Config, account: &str, key: usize) -> Box<dyn Fn() -> Option<Credentials> + Send + Sync> {
    let (config, account) = (config.clone(), account.to_owned());
    Box::new(move || match config.credentials(&account, key, &ProcessEnv) {
        Ok(credentials) => Some(credentials),
        Err(why) => {
            warn!(account, key, %why, "credentials cannot be read again");
            None
        }
    })
}

fn adapter(
    name: &str,
    key: usize,
    settings: xts::Settings,
    credentials: Credentials,
    clock: &Arc<dyn Clock>,
) -> Result<XtsBroker, Error> {
    let settings = xts::Settings { interactive: settings.interactive && key == 1, ..settings };
    XtsBroker::new(settings, credentials, name, Arc::clone(clock))
        .map_err(|source| Error::Broker { account: name.to_owned(), source })
}

/// The keys of a demo account, for each of its sessions.
fn sim_credentials(demo: &DemoAccount, access_token: &str) -> Vec<Credentials> {
    let market = |(key, secret): (String, String)| Credentials {
        market: Some(app_key(&key, &secret)),
        ..Credentials::default()
    };
    let mut sessions: Vec<_> = demo.market_pairs().into_iter().map(market).collect();
    if let Some(first) = sessions.first_mut() {
        first.interactive = Some(app_key(&demo.keys.interactive_app_key, &demo.keys.interactive_secret_key));
        first.access_token = (!access_token.is_empty()).then(|| Secret::new(access_token));
    }
    sessions
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
