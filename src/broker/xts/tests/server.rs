//! One request a connection, answered by a closure; and one WebSocket, driven by a closure.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Method and path.
    pub(super) line: String,
    /// All headers, names in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An HTTP server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `answer` returns status and body; further headers may stand before the body, each line
    /// beginning with `|`.
    pub(super) async fn start(answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|s| s.line).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&Seen) -> (u16, String)>,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let mut bytes = Vec::new();
    let (head, length, start) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let head = text[..end].to_owned();
            let length = head.lines().find_map(|l| {
                l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            });
            break (head, length.unwrap_or(0), end + 4);
        }
    };
    while bytes.len() < start + length {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let (line, headers) = head.split_once("\r\n").unwrap();
    let seen = Seen {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        head: headers.to_owned(),
        body: String::from_utf8(bytes[start..].to_vec()).unwrap(),
    };
    let (status, mut body) = answer(&seen);
    log.lock().unwrap().push(seen);
    let mut extra = String::new();
    while let Some((header, rest)) = body.strip_prefix('|').and_then(|b| b.split_once('\n')) {
        extra.push_str(header);
        extra.push_str("\r\n");
        body = rest.to_owned();
    }
    if status == 0 {
        // Never answers.
        std::future::pending::<()>().await;
    }
    let reply = format!(
        "HTTP/1.1 {status} X\r\n{extra}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
}

/// Accepts one WebSocket and hands it to `script` with the path asked for.
pub(super) async fn socket<F>(
    script: impl FnOnce(WebSocketStream<TcpStream>, String) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            path = request.uri().to_string();
            assert!(!request.headers().contains_key("sec-websocket-extensions"));
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, note).await.unwrap();
        script(socket, path).await;
    });
    (address, task)
}
