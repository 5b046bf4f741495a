//! The feed port under TLS.

use std::path::{Path, PathBuf};

use super::*;
use crate::client::{self, Event, Trust};
use crate::gateway::tls::{Files, Identity};
use crate::protocol::Mode;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn identity() -> Arc<Identity> {
    Identity::open(Files { cert: fixture("server.pem"), key: fixture("server.key") }).unwrap()
}

async fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    let tls = Arc::new(identity().config().unwrap());
    let rig = Rig::with_tls(change, Some(tls)).await;
    rig.master.store(master());
    rig
}

async fn consumer(rig: &Rig, trust: &Trust) -> Result<client::Client, client::Error> {
    let url = format!("wss://localhost:{}", rig.gateway.addr().port());
    client::Client::connect_trusting(&url, &rig.key, trust).await
}

#[tokio::test]
async fn consumers_get_every_frame_and_an_orderly_end() {
    // More than the sockets between them hold, so that ciphertext waits on its way.
    const ROUNDS: i64 = 200;
    let mut rig = rig(|_| ()).await;
    let ca = Trust::Authorities(fixture("ca.pem"));
    let mut alice = consumer(&rig, &ca).await.unwrap();
    let names: Vec<_> = (0..INSTRUMENTS).map(|number| format!("S{number}")).collect();
    let names: Vec<_> = names.iter().map(|name| ("NSE", name.as_str())).collect();
    alice.subscribe(&names, Mode::Quote).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut last = BTreeMap::new();
        let mut count = 0;
        while let Some(event) = alice.next().await.transpose() {
            match event {
                Ok(Event::Record(update)) => {
                    let seq = last.entry(update.header.number).or_insert(update.header.seq - 1);
                    assert_eq!(*seq + 1, update.header.seq, "no gap");
                    *seq = update.header.seq;
                    count += 1;
                }
                Ok(Event::Text(text)) => panic!("{text}"),
                Err(client::Error::Closed { code, .. }) => return (count, code),
                Err(error) => panic!("{error}"),
            }
        }
        (count, None)
    });
    for round in 0..ROUNDS {
        let ticks: Vec<_> = (0..INSTRUMENTS).map(|number| quote(number, 10_000 + round)).collect();
        rig.publisher.publish(&ticks);
        rig.publisher.flush();
        if round % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    timeout(PATIENCE, async {
        while rig.gateway.counts().frames < (ROUNDS as u64) * u64::from(INSTRUMENTS)
            || rig.gateway.waiting_bytes() > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    rig.gateway.stop(Duration::from_secs(20)).await;
    let (count, code) = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!((count, code), (ROUNDS * i64::from(INSTRUMENTS), Some(1001)));
}

#[tokio::test]
async fn only_who_is_trusted_is_spoken_to() {
    let rig = rig(|_| ()).await;
    let trusted = [Trust::Authorities(fixture("ca.pem")), Trust::Exactly(fixture("server.pem"))];
    for trust in trusted {
        assert!(consumer(&rig, &trust).await.is_ok(), "{trust:?}");
    }
    let others =
        [Trust::System, Trust::Authorities(fixture("other-ca.pem")), Trust::Exactly(fixture("other-ca.pem"))];
    for trust in others {
        let refused = consumer(&rig, &trust).await.map(drop);
        assert!(matches!(refused, Err(client::Error::Socket(_))), "{trust:?} {refused:?}");
    }
}

#[tokio::test]
async fn who_forgets_tls_is_told_so() {
    let rig = rig(|_| ()).await;
    let mut socket = TcpStream::connect(rig.gateway.addr()).await.unwrap();
    socket.write_all(request(&rig.gateway).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The rest of the request was not read, which may end the connection hard behind the answer.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("wss://\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert!(answer.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
}

#[tokio::test]
async fn a_handshake_that_dribbles_or_never_ends_is_cut_off_and_others_are_served() {
    let rig = rig(|settings| settings.handshake_timeout_ms = 1_500).await;
    let mut slow = Vec::new();
    for first in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut socket = TcpStream::connect(rig.gateway.addr()).await.unwrap();
        socket.write_all(first).await.unwrap();
        slow.push(socket);
    }
    assert!(consumer(&rig, &Trust::Authorities(fixture("ca.pem"))).await.is_ok());
    for mut socket in slow {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it is cut off");
    }
}

#[tokio::test]
async fn a_reloaded_certificate_is_for_new_connections() {
    let dir = TempDir::new().unwrap();
    let cert = dir.path().join("cert.pem");
    std::fs::copy(fixture("server.pem"), &cert).unwrap();
    let identity = Identity::open(Files { cert: cert.clone(), key: fixture("server.key") }).unwrap();
    let rig = Rig::with_tls(|_| (), Some(Arc::new(identity.config().unwrap()))).await;
    let trust = Trust::Exactly(fixture("server.pem"));
    let mut before = consumer(&rig, &trust).await.unwrap();
    std::fs::write(&cert, "nonsense").unwrap();
    assert!(!identity.reload());
    assert!(consumer(&rig, &trust).await.is_ok(), "the old one is still shown");
    std::fs::copy(fixture("server.pem"), &cert).unwrap();
    assert!(identity.reload());
    assert!(consumer(&rig, &trust).await.is_ok());
    rig.master.store(master());
    assert_eq!(before.subscribe(&[("NSE", "S1")], Mode::Ltp).await.unwrap()[0].error, None);
}
