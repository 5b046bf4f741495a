//! What a person should know who lets other machines reach a port: plain words at start-up about
//! what travels in clear, and what nobody can use. Nothing is opened or closed here.

use std::net::TcpListener;

use tracing::warn;

use crate::config::Config;
use crate::gateway::auth::{ConsumerKeys, Scope};

/// Says what is unwise about ports that are bound beyond loopback.
pub(super) fn warn(config: &Config, [feed, http]: [&TcpListener; 2], keys: &ConsumerKeys) {
    for (key, listener) in [("gateway.feed_listen", feed), ("gateway.http_listen", http)] {
        let Ok(address) = listener.local_addr() else { continue };
        if address.ip().is_loopback() {
            continue;
        }
        if config.gateway.tls_files().is_none() {
            warn!(
                key,
                %address,
                "other machines can reach this port, and it speaks no TLS: whoever is on the way can read consumers' \
                 keys and use them; set gateway.tls_cert_file and gateway.tls_key_file, or put a TLS proxy before it \
                 and bind it to 127.0.0.1"
            );
        }
        let list = keys.list();
        if list.is_empty() {
            warn!(
                key,
                %address,
                "other machines can reach this port, but there is no consumer key, so all of them are refused; \
                 stop the server and make one with `tickgate key create NAME`"
            );
        }
        if key == "gateway.http_listen" && config.orders.enabled && config.gateway.tls_files().is_none() {
            let names: Vec<_> =
                list.iter().filter(|k| k.scopes.has(Scope::Trade)).map(|k| k.name.as_str()).collect();
            if !names.is_empty() {
                warn!(
                    keys = names.join(","),
                    "these keys can trade, and would travel to this port in clear: orders are real money"
                );
            }
        }
    }
}
