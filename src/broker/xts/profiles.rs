//! What is known of each broker that runs XTS: its addresses and its ways, to be filled in under one name.
//! Not a promise: each entry says where its facts come from, and whatever a user sets wins over it.
//!
//! How sure a fact is: *live*: somebody reports it of the broker's own server; *source*: read in a client that is
//! in use; *documented*: only prose says so; *assumed*: taken over from the other brokers.

use serde::{Deserialize as _, Deserializer, de};

/// What a name stands for. Empty texts mean what they mean in the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name.
    pub name: &'static str,
    base_url: &'static str,
    market_prefix: &'static str,
    market_login_prefix: &'static str,
    subscription_prefix: &'static str,
    interactive_prefix: &'static str,
    socket_path: &'static str,
    login: &'static str,
    hostlookup_url: &'static str,
    tls_server_name: &'static str,
}

const BINARY: &str = "/apibinarymarketdata";
const BINARY_SOCKET: &str = "/apibinarymarketdata/socket.io";
const JSON: &str = "/apimarketdata";
const JSON_SOCKET: &str = "/apimarketdata/socket.io";

/// Jainam's retail server, which all others are described by their difference to.
///
/// Addresses: live. That app key and secret suffice for an interactive login: assumed; some accounts need an access
/// token from the page in a browser.
const JAINAM: Profile = Profile {
    name: "jainam",
    base_url: "https://jtrade.jainam.in:5000",
    market_prefix: BINARY,
    market_login_prefix: "",
    subscription_prefix: "",
    interactive_prefix: "/interactive",
    socket_path: BINARY_SOCKET,
    login: "direct",
    hostlookup_url: "",
    tls_server_name: "",
};

/// A server of Jainam's dealers. Addresses: source. Hostlookup: live on server B, assumed on A and C.
const fn dealers(name: &'static str, base_url: &'static str) -> Profile {
    Profile { name, base_url, login: "hostlookup", ..JAINAM }
}

/// A broker with the JSON endpoints throughout.
const fn json(name: &'static str, base_url: &'static str) -> Profile {
    Profile { name, base_url, market_prefix: JSON, socket_path: JSON_SOCKET, ..JAINAM }
}

/// Every profile.
pub static PROFILES: [Profile; 13] = [
    JAINAM,
    dealers("jainam-smpa", "https://smpa.jainam.in:6543"),
    dealers("jainam-smpb", "https://smpb.jainam.in:4143"),
    dealers("jainam-smpc", "https://smpc.jainam.in:14543"),
    // Live: the JSON prefix is not there (404), and logins worked without hostlookup.
    Profile { login: "direct", ..dealers("jainam-smpd", "https://smpd.jainam.in:3643") },
    // Source: that only the market login goes by the binary prefix.
    Profile { market_login_prefix: BINARY, ..json("5paisa", "https://xtsmum.5paisa.com") },
    // Source: one client logs in directly, another by hostlookup at this address; `login = "hostlookup"` is the other.
    Profile {
        hostlookup_url: "https://ttblaze.iifl.com:4000/HostLookUp",
        ..json("iifl", "https://ttblaze.iifl.com")
    },
    // Source: addresses, and the access token from the page in a browser.
    Profile { login: "access_token", ..json("compositedge", "https://xts.compositedge.com") },
    // Live: addresses, direct login, and a certificate for `*.ashlarindia.com` (the company's other name). A name
    // cannot be checked against a pattern the other way round: this is one that the pattern covers. Which hosts
    // there are besides does not matter, since nothing connects to it.
    Profile { tls_server_name: "trade.ashlarindia.com", ..json("wisdom", "https://trade.wisdomcapital.in") },
    // Source: calls by the binary prefix, the socket by the other, direct login.
    Profile { market_prefix: BINARY, ..json("ibulls", "https://xts.ibullssecurities.com") },
    // Source: login and subscription by the JSON prefix, all else by the binary one. Documented: hostlookup.
    Profile {
        market_prefix: BINARY,
        market_login_prefix: JSON,
        subscription_prefix: JSON,
        login: "hostlookup",
        hostlookup_url: "https://xts.rmoneyindia.co.in:4000/hostlookup",
        ..json("rmoney", "https://xts.rmoneyindia.co.in:3000")
    },
    // Source: hostlookup. Assumed: the market prefix and the socket's path.
    Profile {
        login: "hostlookup",
        hostlookup_url: "https://eapi.emkayglobal.com:4000/HostLookUp",
        ..json("emkay", "https://eapi.emkayglobal.com")
    },
    // Source: the official libraries' default; both prefixes are there.
    Profile { base_url: "https://developers.symphonyfintech.in", name: "symphony-test", ..JAINAM },
];

impl Profile {
    /// The profile of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// What it fills in: keys of [`super::Settings`], and their texts.
    pub const fn keys(&self) -> [(&'static str, &'static str); 9] {
        [
            ("base_url", self.base_url),
            ("market_prefix", self.market_prefix),
            ("market_login_prefix", self.market_login_prefix),
            ("subscription_prefix", self.subscription_prefix),
            ("interactive_prefix", self.interactive_prefix),
            ("socket_path", self.socket_path),
            ("login", self.login),
            ("hostlookup_url", self.hostlookup_url),
            ("tls_server_name", self.tls_server_name),
        ]
    }
}

/// Reads a profile by its name; an empty one is none.
///
/// # Errors
/// A name that is none, with those that there are.
pub fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'static Profile>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() {
        return Ok(None);
    }
    Profile::named(&name).map(Some).ok_or_else(|| {
        let names: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
        de::Error::custom(format!("there is no profile {name}; there are: {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::broker::xts::Settings;

    fn settings(profile: &Profile) -> Settings {
        let text: String = profile.keys().iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", profile.name))
    }

    #[test]
    fn every_profile_is_sound_named_once_and_reached_with_tls() {
        let mut names = BTreeSet::new();
        for profile in &PROFILES {
            let settings = settings(profile);
            assert_eq!(settings.problems(), [], "{}", profile.name);
            for url in
                [&settings.base_url, &settings.hostlookup_url].into_iter().filter(|url| !url.is_empty())
            {
                assert!(url.starts_with("https://"), "{}: {url}", profile.name);
            }
            assert!(names.insert(profile.name), "{} twice", profile.name);
            assert_eq!(Profile::named(profile.name), Some(profile));
        }
        assert_eq!(Profile::named("zerodha"), None);
    }

    #[test]
    fn jainams_is_what_the_defaults_are() {
        assert_eq!(settings(&JAINAM), Settings::default());
    }

    #[test]
    fn brokers_differ_where_they_are_known_to() {
        let of = |name: &str| settings(Profile::named(name).unwrap());
        let five = of("5paisa");
        assert_eq!(
            five.market_login("/auth/login"),
            "https://xtsmum.5paisa.com/apibinarymarketdata/auth/login"
        );
        assert_eq!(five.market("/x"), "https://xtsmum.5paisa.com/apimarketdata/x");
        let rmoney = of("rmoney");
        assert_eq!(
            rmoney.subscription(),
            "https://xts.rmoneyindia.co.in:3000/apimarketdata/instruments/subscription"
        );
        assert_eq!(rmoney.market("/x"), "https://xts.rmoneyindia.co.in:3000/apibinarymarketdata/x");
        assert_eq!(of("ibulls").socket_path, "/apimarketdata/socket.io");
    }
}
