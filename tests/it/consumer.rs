//! A consumer for tests: says what it is told, remembers what it got.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::PATIENCE;

pub(crate) struct Consumer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a read brought.
pub(crate) enum Got {
    Json(Value),
    Closed(Option<CloseFrame>),
    Nothing,
}

impl Consumer {
    pub(crate) async fn connect(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.expect("the feed port accepts");
        Self { socket }
    }

    pub(crate) async fn authenticated(url: &str, key: &str) -> Self {
        let mut consumer = Self::connect(url).await;
        consumer.send(&json!({"action": "authenticate", "api_key": key})).await;
        let answer = consumer.next().await;
        assert_eq!(answer["status"], "success", "{answer}");
        consumer
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the connection is open");
    }

    /// The next frame within `within`.
    pub(crate) async fn read(&mut self, within: Duration) -> Got {
        loop {
            match tokio::time::timeout(within, self.socket.next()).await {
                Err(_) => return Got::Nothing,
                Ok(None | Some(Err(_))) => return Got::Closed(None),
                Ok(Some(Ok(Message::Close(frame)))) => return Got::Closed(frame),
                Ok(Some(Ok(Message::Text(text)))) => {
                    return Got::Json(serde_json::from_str(&text).expect("every frame is JSON"));
                }
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    /// The next frame; it must come.
    pub(crate) async fn next(&mut self) -> Value {
        match self.read(PATIENCE).await {
            Got::Json(value) => value,
            Got::Closed(frame) => panic!("closed: {frame:?}"),
            Got::Nothing => panic!("no frame came"),
        }
    }

    /// The next frame for which `wanted` holds; others are dropped.
    pub(crate) async fn next_where(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let frame = self.next().await;
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Subscribes in one frame and returns the acknowledgement. Market data that came before
    /// it is dropped.
    pub(crate) async fn subscribe(&mut self, mode: u8, names: &[&str]) -> Value {
        let symbols: Vec<_> = names
            .iter()
            .map(|name| {
                let (exchange, symbol) = name.split_once(':').expect("is a name");
                json!({"symbol": symbol, "exchange": exchange})
            })
            .collect();
        self.send(&json!({"action": "subscribe", "symbols": symbols, "mode": mode})).await;
        self.next_where(|f| f["type"] == "subscribe").await
    }
}
