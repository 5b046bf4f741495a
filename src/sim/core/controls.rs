//! What tests tell the simulated broker to do. Not the venue's protocol.

use super::feed::Socket;
use super::{Core, Out};
use crate::sim::sessions::Product;
use crate::sim::settings::SocketEnd;

impl Core {
    /// Life of tokens issued from now on.
    pub(crate) fn set_token_life(&mut self, seconds: u64) {
        self.token_life_s = Some(seconds);
        self.dirty = true;
    }

    /// What interactive logins must bring from now on, each text for one login; empty: nothing.
    pub(crate) fn set_access_token(&mut self, token: &str) {
        token.clone_into(&mut self.access_token);
    }

    /// Ends live sessions: their tokens are refused from now on. `None` means all accounts,
    /// or both products. Returns how many there were.
    pub(crate) fn expire(
        &mut self,
        account: Option<usize>,
        product: Option<Product>,
        sockets: SocketEnd,
    ) -> usize {
        let mut ended = 0;
        for number in 0..self.accounts.len() {
            for each in Product::ALL {
                let is_meant = account.is_none_or(|a| a == self.accounts[number].of)
                    && product.is_none_or(|p| p == each);
                if is_meant && self.accounts[number].sessions.get(each).is_some() {
                    self.end_session(number, each, sockets);
                    ended += 1;
                }
            }
        }
        ended
    }

    /// Closes sockets; with a goodbye, or as a broken connection does. `None` means those of
    /// all accounts, or of both products. Returns how many there were.
    pub(crate) fn drop_sockets(
        &mut self,
        account: Option<usize>,
        product: Option<Product>,
        clean: bool,
    ) -> usize {
        let is_meant = |s: &Socket| {
            account.is_none_or(|a| a == self.accounts[s.account].of) && product.is_none_or(|p| p == s.product)
        };
        let sockets: Vec<_> = self.sockets.iter().filter(|(_, s)| is_meant(s)).map(|(&id, _)| id).collect();
        for &socket in &sockets {
            self.outbox.push((socket, Out::Close { clean }));
            self.remove_socket(socket, self.seen);
        }
        sockets.len()
    }

    /// Stops the market with sockets open, or lets it go on.
    pub(crate) fn mute(&mut self, on: bool) {
        self.market.mute(on);
    }
}
