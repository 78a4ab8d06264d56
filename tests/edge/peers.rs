//! Proxies as programs, each in front of one backend: nginx, HAProxy and fairlead. Each on a port found free, with a folder of its own; ended with
//! the test, also when that is killed. Never installs one: a test without its tool fails with the words that say what to install.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::testing::free_port;

use super::backend::DEADLINE;
use super::client::Client;

/// Between two looks whether a program listens.
const LOOK: Duration = Duration::from_millis(10);

/// How often another port is tried, if somebody took one meanwhile.
const TRIES: usize = 5;

/// A running proxy.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Speaks HTTP/1.1 here.
    pub(crate) h1: SocketAddr,
    /// Speaks h2 in clear text here, known beforehand.
    pub(crate) h2: SocketAddr,
    ready: SocketAddr,
    child: Child,
    folder: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The most memory that it has had resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// nginx in front of this backend. Ask in the thread that keeps it: it is killed when that thread ends.
pub(crate) fn nginx(backend: SocketAddr) -> Peer {
    start("nginx", "nginx-light", |[h1, h2, _], folder| {
        let config = include_str!("peers/nginx.conf")
            .replace("H1", &h1.to_string())
            .replace("H2", &h2.to_string())
            .replace("BACKEND", &backend.to_string())
            .replace("FOLDER", &folder.display().to_string());
        let file = write(folder, "nginx.conf", &config);
        vec![
            "-p".to_owned(),
            folder.display().to_string(),
            "-e".to_owned(),
            "stderr".to_owned(),
            "-c".to_owned(),
            file,
        ]
    })
}

/// HAProxy in front of this backend. Ask in the thread that keeps it.
pub(crate) fn haproxy(backend: SocketAddr) -> Peer {
    start("haproxy", "haproxy", |[h1, h2, _], folder| {
        let config = include_str!("peers/haproxy.cfg")
            .replace("H1", &h1.to_string())
            .replace("H2", &h2.to_string())
            .replace("BACKEND", &backend.to_string());
        vec![
            "-db".to_owned(),
            "-q".to_owned(),
            "-f".to_owned(),
            write(folder, "haproxy.cfg", &config),
        ]
    })
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Where a proxy speaks HTTP/1.1, where h2, and where it says whether it is ready.
type Ports = [SocketAddr; 3];

fn free() -> Ports {
    [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())))
}

fn start(
    program: &'static str,
    package: &str,
    arguments: impl Fn(Ports, &Path) -> Vec<String>,
) -> Peer {
    let installed = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let path = installed.map(|dir| Path::new(dir).join(program)).into_iter().find(|p| p.exists());
    let Some(path) = path else {
        panic!(
            "{program} is missing: install it with `make deps`, or on Debian with `apt-get install {package}`"
        )
    };
    start_program(program, &path, arguments)
}

/// Starts it until it got its ports.
fn start_program(
    name: &'static str,
    path: &Path,
    arguments: impl Fn(Ports, &Path) -> Vec<String>,
) -> Peer {
    let mut last = Vec::new();
    for _ in 0..TRIES {
        let ports = free();
        let [h1, h2, ready] = ports;
        let folder = std::env::temp_dir().join(format!("fairlead-edge-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        // `setpriv` (util-linux): so that it ends even if this process is killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .args(arguments(ports, &folder))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("setpriv, of util-linux: {error}: install it with `make deps`")
            });
        let errors = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let mut peer = Peer { name, h1, h2, ready, child, folder, log };
        if listens(&mut peer) {
            return peer;
        }
        last = peer.log();
    }
    panic!("{name} did not start: {last:#?}");
}

/// Whether it came to listen; false if it ended.
fn listens(peer: &mut Peer) -> bool {
    for _ in 0..DEADLINE.as_millis() / LOOK.as_millis() {
        if peer.child.try_wait().unwrap().is_some() {
            return false;
        }
        if [peer.h1, peer.h2].iter().all(|at| TcpStream::connect(at).is_ok()) {
            return true;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!("{} does not listen: {:#?}", peer.name, peer.log())
}

/// fairlead in front of this backend, once it knows that it is there. Ask in the thread that keeps it.
pub(crate) fn fairlead(backend: SocketAddr) -> Peer {
    ready(fairlead_with(backend, ""))
}

/// The same, and nobody is waited for longer than a second.
pub(crate) fn hasty_fairlead(backend: SocketAddr) -> Peer {
    let keys = ["head", "keep_alive", "first_byte", "body", "idle"];
    let times: Vec<_> = keys.iter().map(|key| format!("{key}_timeout = \"1s\"")).collect();
    ready(fairlead_with(backend, &times.join("\n")))
}

/// fairlead, whether there is a backend or not.
pub(crate) fn lone_fairlead(backend: SocketAddr) -> Peer {
    fairlead_with(backend, "")
}

fn fairlead_with(backend: SocketAddr, times: &str) -> Peer {
    start_program("fairlead", Path::new(env!("CARGO_BIN_EXE_fairlead")), |ports, folder| {
        let config = include_str!("peers/fairlead.toml")
            .replace("H1", &ports[0].to_string())
            .replace("H2", &ports[1].to_string())
            .replace("READY", &ports[2].to_string())
            .replace("BACKEND", &backend.to_string())
            .replace("TIMES", times)
            .replace("FOLDER", &folder.display().to_string());
        let file = write(folder, "fairlead.toml", &config);
        vec!["run".to_owned(), "--config".to_owned(), file]
    })
}

/// Waits until it says that it is.
fn ready(peer: Peer) -> Peer {
    let asks = || {
        let mut client = Client::connect(peer.ready);
        client.send("GET /readyz HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
        client.answer("GET").is_ok_and(|answer| answer.status == 200)
    };
    for _ in 0..DEADLINE.as_millis() / LOOK.as_millis() {
        if asks() {
            return peer;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!("{} is not ready: {:#?}", peer.name, peer.log())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this process runs; a zombie does not.
    fn runs(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
    }

    #[test]
    fn nothing_of_a_peer_outlives_the_test_however_that_ends() {
        let nobody = free()[0];
        for start in [nginx, haproxy, lone_fairlead] {
            let peer = start(nobody);
            let (pid, folder) = (peer.pid(), peer.folder.clone());
            assert!(runs(pid) && folder.is_dir());
            drop(peer);
            assert!(!runs(pid) && !folder.exists());
            // A thread that ends without a word, as when the process is killed.
            let killed = std::thread::spawn(move || {
                let peer = start(nobody);
                let (pid, folder) = (peer.pid(), peer.folder.clone());
                std::mem::forget(peer);
                (pid, folder)
            });
            let (pid, folder) = killed.join().unwrap();
            let looks = DEADLINE.as_millis() / LOOK.as_millis();
            let over = (0..looks).any(|_| {
                std::thread::park_timeout(LOOK);
                !runs(pid)
            });
            std::fs::remove_dir_all(folder).unwrap();
            assert!(over, "it lives on");
        }
    }
}
