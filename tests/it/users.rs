//! Ten thousand users over ten upstreams, by what their requests say: who stays, who moves, and how much one upstream gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fairlead::drain::Tasks;
use fairlead::testing::{Gateway, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::rig::{Metrics, eventually, within};

const UPSTREAMS: usize = 10;
const USERS: usize = 10_000;

/// An upstream that answers with its port, once it may.
struct App {
    port: u16,
    asked: Arc<AtomicUsize>,
    gone: watch::Sender<bool>,
}

impl App {
    async fn new(may: &watch::Receiver<bool>) -> App {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (gone, going) = watch::channel(false);
        let asked = Arc::new(AtomicUsize::new(0));
        let (tasks, may, count) = (Tasks::new(), may.clone(), Arc::clone(&asked));
        let more = tasks.clone();
        tasks.spawn_aside("app", async move {
            let mut ends = going.clone();
            let accept = async {
                while let Ok((socket, _)) = listener.accept().await {
                    let serve = serve(socket, port, Arc::clone(&count), may.clone());
                    let mut ends = going.clone();
                    more.spawn_aside("app conn", async move {
                        tokio::select! {
                            () = serve => {}
                            _ = ends.wait_for(|gone| *gone) => {}
                        }
                    });
                }
            };
            tokio::select! {
                () = accept => {}
                _ = ends.wait_for(|gone| *gone) => {}
            }
        });
        App { port, asked, gone }
    }
}

async fn serve(
    mut socket: TcpStream,
    port: u16,
    asked: Arc<AtomicUsize>,
    mut may: watch::Receiver<bool>,
) {
    let mut input = Vec::new();
    loop {
        while !input.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
        }
        input.clear();
        asked.fetch_add(1, Ordering::Relaxed);
        if may.wait_for(|may| *may).await.is_err() {
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{port:05}");
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Rig {
    gateway: Gateway,
    apps: Vec<App>,
    may: watch::Sender<bool>,
}

async fn rig(pool: &str) -> Rig {
    let (may, wait) = watch::channel(true);
    let mut apps = Vec::new();
    for _ in 0..UPSTREAMS {
        apps.push(App::new(&wait).await);
    }
    let listed: Vec<_> = apps.iter().map(|app| format!("\"127.0.0.1:{}\"", app.port)).collect();
    let toml = format!(
        "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [[listener.identity]]\nsource = \"header\"\nname = \"x-user-id\"\n\
         [listener.http]\nmax_requests = 1000000\n\
         [[pool]]\nname = \"app\"\nupstreams = [{}]\nbalance = \"consistent\"\naffinity = \"user\"\n{pool}\n\
         [pool.health]\nprobe = \"tcp\"\ninterval = \"100ms\"\nfall = 2\n[metrics]\nbind = \"127.0.0.1:0\"\n",
        listed.join(", "),
    );
    let rig = Rig { gateway: Gateway::start(&toml).await.unwrap(), apps, may };
    rig.until_up(UPSTREAMS).await;
    rig
}

impl Rig {
    async fn until_up(&self, count: usize) {
        let up = async || {
            let metrics = Metrics(self.gateway.get("/metrics").await.unwrap().1);
            metrics.sum("fairlead_upstream_state", &[("state", "up")]) == count as f64
        };
        eventually(&format!("{count} are up"), up).await;
    }

    fn address(&self) -> SocketAddr {
        self.gateway.addresses().listeners[0]
    }

    /// Where each user's request goes, one after the other.
    async fn homes(&self) -> Vec<u16> {
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        let mut homes = Vec::new();
        for user in 0..USERS {
            homes.push(ask(&mut socket, &format!("user-{user}")).await);
        }
        homes
    }
}

async fn ask(socket: &mut TcpStream, user: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nHost: app\r\nX-User-Id: {user}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let whole = |answer: &[u8]| {
        let text = std::str::from_utf8(answer).unwrap();
        text.split_once("\r\n\r\n")
            .filter(|(_, body)| body.len() == 5)
            .map(|(_, body)| body.parse())
    };
    within("an answer", async {
        loop {
            if let Some(port) = whole(&answer) {
                return port.unwrap();
            }
            assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "the conn was closed");
        }
    })
    .await
}

#[tokio::test]
async fn of_10000_users_those_of_a_lost_upstream_move_and_nobody_else() {
    let rig = rig("").await;
    let before = rig.homes().await;
    let lost = rig.apps.last().unwrap();
    lost.gone.send_replace(true);
    rig.until_up(UPSTREAMS - 1).await;
    let after = rig.homes().await;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert!(moved.iter().all(|(before, _)| **before == lost.port), "somebody else moved");
    assert!(!after.contains(&lost.port));
    assert!((800..1200).contains(&moved.len()), "{}", moved.len());
    let mut counts = BTreeMap::new();
    for port in before {
        *counts.entry(port).or_insert(0) += 1;
    }
    assert!(
        counts.len() == UPSTREAMS && counts.values().all(|n| (800..1200).contains(n)),
        "{counts:?}"
    );
}

/// How many of 200 requests of one user, all under way at once, each upstream has.
async fn loud(pool: &str) -> Vec<usize> {
    let rig = rig(pool).await;
    rig.may.send_replace(false);
    let tasks = tokio::task::LocalSet::new();
    let asked = || rig.apps.iter().map(|app| app.asked.load(Ordering::Relaxed)).collect::<Vec<_>>();
    tasks
        .run_until(async {
            let mut all = Vec::new();
            for _ in 0..200 {
                let address = rig.address();
                all.push(tokio::task::spawn_local(async move {
                    ask(&mut TcpStream::connect(address).await.unwrap(), "loud").await
                }));
            }
            eventually("all are under way", async || asked().iter().sum::<usize>() == 200).await;
            let metrics = Metrics(rig.gateway.get("/metrics").await.unwrap().1);
            for app in &rig.apps {
                let (name, asked) =
                    (format!("127.0.0.1:{}", app.port), app.asked.load(Ordering::Relaxed));
                let shown = metrics.sum("fairlead_upstream_sessions", &[("upstream", &name)]);
                assert_eq!(shown, asked as f64, "who looks sees how even it is");
            }
            rig.may.send_replace(true);
            for one in all {
                one.await.unwrap();
            }
        })
        .await;
    asked()
}

#[tokio::test]
async fn a_loud_user_stays_where_it_is_unless_the_load_is_bounded() {
    let mut free = loud("").await;
    free.sort_unstable();
    assert_eq!(free.last(), Some(&200), "{free:?}");
    let bounded = loud("balance_factor = 1.5").await;
    assert!(bounded.iter().all(|n| *n <= 30), "1.5 times the mean of 20: {bounded:?}");
}
