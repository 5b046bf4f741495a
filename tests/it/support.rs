//! Starts the real program on free ports in a directory of its own, and stops it by its id.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// The longest any wait may take. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The program under test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TICKGATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Waits until `check` yields something.
pub(crate) fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        #[expect(clippy::disallowed_methods, reason = "polling another process")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One plain HTTP/1.1 exchange; small enough that a client library would only add compile
/// time to a test of somebody else's server.
pub(crate) fn http(
    method: &str,
    address: SocketAddr,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> Option<(u16, String)> {
    http_within(Duration::from_secs(10), method, address, path, key, body)
}

/// The same, with another patience.
pub(crate) fn http_within(
    patience: Duration,
    method: &str,
    address: SocketAddr,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> Option<(u16, String)> {
    use std::io::Write as _;
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    socket.set_read_timeout(Some(patience)).ok()?;
    let authorization = key.map(|k| format!("Authorization: Bearer {k}\r\n")).unwrap_or_default();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body)
    } else {
        body.to_owned()
    };
    Some((status, body))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// A running `tickgate serve` with its data directory.
pub(crate) struct Server {
    child: Child,
    dir: Option<TempDir>,
    root: PathBuf,
    environment: Vec<(String, String)>,
}

impl Server {
    /// Starts it with free ports and these variables, in a new directory.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_configured("", environment)
    }

    /// The same with a configuration file.
    pub(crate) fn start_configured(config: &str, environment: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("there is a temporary directory");
        let root = dir.path().to_owned();
        if !config.is_empty() {
            std::fs::write(root.join("config.toml"), config).expect("is writable");
        }
        let environment: Vec<_> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let child = spawn(&root, &environment);
        let server = Self { child, dir: Some(dir), root, environment };
        server.wait_listening();
        server
    }

    /// Kills it (SIGKILL) and starts it again in the same directory.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again in the same directory; it must have ended.
    pub(crate) fn restart(&mut self) {
        let _ = std::fs::remove_file(self.data().join("run.json"));
        self.child = spawn(&self.root, &self.environment);
        self.wait_listening();
    }

    /// What it is started with from now on.
    pub(crate) fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    }

    /// Asks it to stop (SIGTERM) and returns its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill works");
        wait_for("the server to stop", || self.child.try_wait().ok().flatten()).code()
    }

    fn wait_listening(&self) {
        wait_for("run.json", || self.run_file());
    }

    fn run_file(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.data().join("run.json")).ok()?;
        let value: Value = serde_json::from_str(&text).ok()?;
        (value["pid"] == u64::from(self.child.id())).then_some(value)
    }

    fn address(&self, name: &str) -> SocketAddr {
        let run = self.run_file().expect("it is running");
        run[name].as_str().and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("no {name} in {run}"))
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where it was started.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The HTTP port.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.address("http")
    }

    /// The embedded simulator's port.
    pub(crate) fn sim_address(&self) -> SocketAddr {
        self.address("sim")
    }

    /// The feed port, as a WebSocket address.
    pub(crate) fn feed_url(&self) -> String {
        format!("ws://{}", self.address("feed"))
    }

    /// The key made at the first start.
    pub(crate) fn local_key(&self) -> String {
        std::fs::read_to_string(self.data().join("local.key")).expect("local.key exists").trim().to_owned()
    }

    /// GET on the HTTP port.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        http("GET", self.http_address(), path, None, "")
    }

    /// GET on the simulator, as JSON.
    pub(crate) fn sim(&self, path: &str) -> Value {
        let (status, body) = http("GET", self.sim_address(), path, None, "").expect("the simulator answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("is JSON")
    }

    /// Waits until consumers can get live data.
    pub(crate) fn wait_ready(&self) {
        wait_for("/readyz to be 200", || self.get("/readyz").filter(|(status, _)| *status == 200));
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- the server's log\n{}", self.log());
            // Kept for a look.
            if let Some(dir) = self.dir.take() {
                eprintln!("---- its directory: {}", dir.keep().display());
            }
        }
    }
}

fn spawn(root: &Path, environment: &[(String, String)]) -> Child {
    let log = File::options().create(true).append(true).open(root.join("stderr.log")).expect("is writable");
    program()
        .arg("serve")
        .current_dir(root)
        .env("TICKGATE_GATEWAY__FEED_LISTEN", "127.0.0.1:0")
        .env("TICKGATE_GATEWAY__HTTP_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the program starts")
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback works").port()
}

/// Writes a file that only its owner may use.
pub(crate) fn private_file(path: &Path, text: &str) {
    tickgate::store::private::write(path, text).expect("the directory is writable");
}

/// Epoch milliseconds by the machine's clock, which the server under test uses too.
pub(crate) fn now_ms() -> i64 {
    use tickgate::clock::{Clock as _, SystemClock};
    SystemClock.now().as_millis()
}

/// `tickgate sim` on a port of its own, in a directory of its own.
pub(crate) struct Simulator {
    child: Child,
    dir: TempDir,
    environment: Vec<(String, String)>,
    pub(crate) address: SocketAddr,
}

impl Simulator {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let dir = TempDir::new().expect("there is a temporary directory");
        let environment: Vec<_> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let child = spawn_simulator(&dir, address, &environment);
        let simulator = Self { child, dir, environment, address };
        simulator.wait_listening();
        simulator
    }

    fn wait_listening(&self) {
        wait_for("the simulator", || {
            http("GET", self.address, "/__sim/state", None, "").filter(|(status, _)| *status == 200)
        });
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn_simulator(&self.dir, self.address, &self.environment);
        self.wait_listening();
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = http("GET", self.address, path, None, "").expect("the simulator answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("is JSON")
    }

    /// Its demo keys, as the variables a server takes them from.
    pub(crate) fn credentials(&self) -> Vec<(String, String)> {
        let state = self.json("/__sim/state");
        ["market_app_key", "market_secret_key", "interactive_app_key", "interactive_secret_key"]
            .iter()
            .map(|name| {
                let value =
                    state["demo_keys"][name].as_str().unwrap_or_else(|| panic!("no {name} in {state}"));
                (format!("TICKGATE_XTS_{}", name.to_uppercase()), value.to_owned())
            })
            .collect()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn_simulator(dir: &TempDir, address: SocketAddr, environment: &[(String, String)]) -> Child {
    program()
        .args(["sim", "--listen", &address.to_string()])
        .current_dir(dir.path())
        .envs(environment.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}
