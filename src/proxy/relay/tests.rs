use std::io;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::proxy::buffers;
use crate::stream::Io;
use crate::stream::pairs::{handshake, pair};

const DEADLINE: Duration = Duration::from_secs(20);

/// An end of a conn, as its client or its upstream has it.
trait Ends: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Ends for T {}

/// Both ends of a conn, and what is between them.
struct Line {
    client: Box<dyn Ends>,
    /// Resets the client's end when it is dropped.
    client_socket: std::net::TcpStream,
    upstream: TcpStream,
    relay: Relay,
}

/// Another descriptor of the same socket.
fn double(socket: &TcpStream) -> std::net::TcpStream {
    socket2::SockRef::from(socket).try_clone().unwrap().into()
}

fn resets(socket: &std::net::TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn line(tls: bool, until: Option<Instant>) -> Line {
    let (client, accepted) = pair().await;
    let (connected, upstream) = pair().await;
    let client_socket = double(&client);
    let (client, io): (Box<dyn Ends>, _) = if tls {
        let (client, io) = handshake(client, accepted).await;
        (Box::new(client), io)
    } else {
        (Box::new(client), Io::Plain(accepted))
    };
    Line { client, client_socket, upstream, relay: Relay::new(io, Io::Plain(connected), until) }
}

/// Runs the relay to its end; its sockets are closed with it.
async fn relayed(mut relay: Relay, limits: Limits) -> End {
    std::future::poll_fn(|cx| relay.poll(cx, &limits)).await
}

/// Runs the relay beside something that it must outlive.
async fn during<T>(relay: &mut Relay, what: impl Future<Output = T>) -> T {
    let limits = Limits::default();
    tokio::select! {
        done = what => done,
        end = std::future::poll_fn(|cx| relay.poll(cx, &limits)) => panic!("{end:?}"),
    }
}

/// The byte at a place of what one end says.
fn byte(seed: u8, at: usize) -> u8 {
    (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ (at >> 16) as u8 ^ seed
}

/// How an end goes on after it said all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    /// It says so, and listens on.
    Fin,
    /// Likewise, but only when it has heard all.
    AfterTheOther,
    Reset,
}

#[derive(Clone, Debug)]
struct Script {
    chunks: Vec<usize>,
    reads: usize,
    close: Close,
}

/// What an end heard, and how that ended.
type Heard = (Vec<u8>, io::Result<()>);

async fn play(mut end: Box<dyn Ends>, seed: u8, script: Script, reset: impl FnOnce()) -> Heard {
    let (mut reader, mut writer) = tokio::io::split(&mut end);
    let (said, hears_all) = tokio::sync::watch::channel(false);
    let saying = async {
        let mut at = 0;
        for chunk in script.chunks {
            let bytes: Vec<u8> = (at..at + chunk).map(|at| byte(seed, at)).collect();
            writer.write_all(&bytes).await?;
            writer.flush().await?;
            at += chunk;
            tokio::task::yield_now().await;
        }
        match script.close {
            Close::Reset => Ok(()),
            Close::Fin => writer.shutdown().await,
            Close::AfterTheOther => {
                let _ = hears_all.clone().wait_for(|all| *all).await;
                writer.shutdown().await
            }
        }
    };
    let hearing = async {
        let (mut heard, mut buffer) = (Vec::new(), vec![0; script.reads]);
        let ended = loop {
            match reader.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(n) => heard.extend_from_slice(&buffer[..n]),
                Err(error) => break Err(error),
            }
        };
        said.send_replace(true);
        (heard, ended)
    };
    if script.close == Close::Reset {
        let heard = tokio::select! {
            biased;
            said = saying => (Vec::new(), said),
            heard = hearing => heard,
        };
        reset();
        return heard;
    }
    let (said, (heard, ended)) = tokio::join!(saying, hearing);
    // The system tells of a reset once: to the write, if one comes first.
    (heard, said.and(ended))
}

fn expected(seed: u8, script: &Script) -> Vec<u8> {
    (0..script.chunks.iter().sum()).map(|at| byte(seed, at)).collect()
}

fn any_script() -> impl Strategy<Value = Script> {
    let chunk = prop_oneof![4 => 1usize..20, 4 => 1usize..70_000, 1 => 300_000usize..900_000];
    let close = prop_oneof![3 => Just(Close::Fin), 2 => Just(Close::AfterTheOther), 1 => Just(Close::Reset)];
    (prop::collection::vec(chunk, 0..6), prop_oneof![Just(1000usize), Just(100_000)], close)
        .prop_map(|(chunks, reads, close)| Script { chunks, reads, close })
}

fn on_a_runtime<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_one_says_the_other_hears_and_no_cut_looks_like_an_end(
        tls in any::<bool>(),
        client in any_script(),
        upstream in any_script(),
    ) {
        // Who waits for the other's end, and is waited for, waits for ever.
        prop_assume!(client.close == Close::Fin || upstream.close != Close::AfterTheOther || client.close == Close::Reset);
        let (said_up, said_down) = (expected(1, &client), expected(2, &upstream));
        let (close_up, close_down) = (client.close, upstream.close);
        let (end, up, down) = on_a_runtime(async move {
            let Line { client: near, client_socket, upstream: far, relay } = line(tls, None).await;
            let far_socket = double(&far);
            let near = play(near, 1, client, move || resets(&client_socket));
            let far = play(Box::new(far), 2, upstream, move || resets(&far_socket));
            let (end, down, up) = tokio::join!(relayed(relay, Limits::default()), near, far);
            (end, up, down)
        });
        prop_assert!(said_up.starts_with(&up.0) && said_down.starts_with(&down.0));
        match (close_up, close_down) {
            (Close::Reset, Close::Reset) => prop_assert!(matches!(end, End::Broken(_))),
            (Close::Reset, _) => {
                prop_assert_eq!(end, End::Broken(Party::Client));
                prop_assert!(up.1.is_err(), "the upstream takes a cut for an end");
            }
            (_, Close::Reset) => {
                prop_assert_eq!(end, End::Broken(Party::Upstream));
                prop_assert!(down.1.is_err(), "the client takes a cut for an end");
            }
            (_, _) => {
                prop_assert_eq!(end, End::Done);
                prop_assert!(up.1.is_ok() && down.1.is_ok());
                prop_assert_eq!((up.0.len(), down.0.len()), (said_up.len(), said_down.len()));
            }
        }
    }
}

#[test]
fn bulk_goes_through_a_pipe_and_never_with_tls() {
    for tls in [false, true] {
        std::thread::spawn(move || {
            on_a_runtime(async {
                let Line { mut client, upstream: mut far, relay, .. } = line(tls, None).await;
                let sending = async {
                    let all = vec![7; 16 * 1024 * 1024];
                    client.write_all(&all).await.unwrap();
                    client.shutdown().await.unwrap();
                    client.read(&mut [0]).await
                };
                let hearing = async {
                    let mut heard = Vec::new();
                    far.read_to_end(&mut heard).await.unwrap();
                    assert!(heard.len() == 16 * 1024 * 1024 && heard.iter().all(|b| *b == 7));
                    far.shutdown().await.unwrap();
                };
                let limits = Limits::default();
                let (end, _, ()) = tokio::join!(relayed(relay, limits), sending, hearing);
                assert_eq!((end, pipe::kept()), (End::Done, usize::from(!tls)), "tls: {tls}");
            });
        })
        .join()
        .unwrap();
    }
}

#[test]
fn after_bulk_small_messages_go_on_without_a_pipe() {
    on_a_runtime(async {
        let Line { mut client, upstream: mut far, mut relay, .. } = line(false, None).await;
        during(&mut relay, async {
            let (all, mut heard) = (vec![7; 4 * 1024 * 1024], vec![0; 4 * 1024 * 1024]);
            let (sent, read) = tokio::join!(client.write_all(&all), far.read_exact(&mut heard));
            sent.and(read.map(drop)).unwrap();
            for _ in 0..3 {
                client.write_all(b"ping").await.unwrap();
                far.read_exact(&mut heard[..4]).await.unwrap();
                assert_eq!(heard[..4], *b"ping");
            }
        })
        .await;
        assert!(relay.up.copies() && pipe::kept() == 1);
    });
}

#[test]
fn an_idle_conn_holds_no_buffer_and_a_stuck_one_does() {
    on_a_runtime(async {
        let Line { mut client, upstream: mut far, mut relay, .. } = line(true, None).await;
        during(&mut relay, async {
            client.write_all(&vec![1; 100_000]).await.unwrap();
            far.read_exact(&mut vec![0; 100_000]).await.unwrap();
        })
        .await;
        assert!(!relay.up.holds_memory() && !relay.down.holds_memory() && buffers::kept() > 0);
        // Until no socket on the way takes any more.
        let limit = Duration::from_millis(500);
        let flood = async {
            let more = vec![1; 100_000];
            while let Ok(sent) = tokio::time::timeout(limit, client.write_all(&more)).await {
                sent.unwrap();
            }
        };
        during(&mut relay, flood).await;
        assert!(relay.up.holds_memory(), "what was read waits");
    });
}

/// What becomes of a relay of which nobody takes or says anything, after the client did this.
fn left_alone(limits: Limits, until: Option<Duration>, client_does: &'static str) -> (End, Heard) {
    on_a_runtime(async move {
        let until = until.map(|after| time::now() + after);
        let Line { mut client, client_socket, upstream: mut far, relay } = line(false, until).await;
        let kept = double(&far);
        let relaying = relayed(relay, limits);
        let says = async {
            match client_does {
                "fin" => client.shutdown().await.unwrap(),
                "floods" => drop(client.write_all(&vec![0; 64 * 1024 * 1024]).await),
                _ => client.write_all(b"said").await.unwrap(),
            }
        };
        let (end, ()) = tokio::join!(relaying, says);
        let mut heard = Vec::new();
        let ended = far.read_to_end(&mut heard).await.map(drop);
        drop((kept, client_socket));
        (end, (heard, ended))
    })
}

#[test]
fn what_takes_too_long_is_cut_and_does_not_look_like_an_end() {
    let soon = Some(Duration::from_millis(500));
    let idle = Limits { idle: soon, ..Limits::default() };
    let half = Limits { half_closed: soon, ..Limits::default() };
    let stall = Limits { stall: soon, ..Limits::default() };
    for (limits, until, client_does, late) in [
        (idle, None, "speaks", Late::Idle),
        (half, None, "fin", Late::HalfClosed),
        (stall, None, "floods", Late::Stalled(Party::Upstream)),
        (Limits::default(), soon, "speaks", Late::Lifetime),
    ] {
        let (end, (heard, ended)) = left_alone(limits, until, client_does);
        assert_eq!(end, End::Late(late));
        match late {
            Late::Idle | Late::Lifetime => assert_eq!(heard, b"said"),
            Late::HalfClosed => assert!(heard.is_empty()),
            Late::Stalled(_) => assert!(!heard.is_empty()),
        }
        // A FIN that was passed on before it was cut is one.
        assert_eq!(ended.is_ok(), late == Late::HalfClosed, "{late:?}");
    }
}

/// The kernel says that there is room only when a third of its buffer is free, which grows to megabytes.
#[test]
fn who_takes_little_at_a_time_is_not_stalled() {
    on_a_runtime(async {
        let Line { mut client, upstream: mut far, relay, .. } = line(false, None).await;
        let limits = Limits { stall: Some(Duration::from_secs(2)), ..Limits::default() };
        let takes = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            let mut some = vec![0; 16 * 1024];
            let mut taken = 0;
            while taken < 1_250_000 {
                ticks.tick().await;
                taken += client.read(&mut some).await.unwrap();
            }
        };
        let floods = async {
            let _ = far.write_all(&vec![1; 64 * 1024 * 1024]).await;
        };
        tokio::select! {
            () = takes => {}
            () = floods => panic!("all was taken"),
            end = relayed(relay, limits) => panic!("{end:?}"),
        }
    });
}

#[test]
fn who_speaks_now_and_then_is_not_idle() {
    on_a_runtime(async {
        let Line { mut client, upstream: mut far, relay, .. } = line(false, None).await;
        let limits = Limits { idle: Some(Duration::from_millis(400)), ..Limits::default() };
        let since = time::now();
        let talk = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            while time::now() < since + Duration::from_millis(1200) {
                ticks.tick().await;
                client.write_all(b"x").await.unwrap();
                far.read_exact(&mut [0]).await.unwrap();
            }
        };
        tokio::select! {
            () = talk => {}
            end = relayed(relay, limits) => panic!("{end:?}"),
        }
    });
}

#[test]
fn tls_that_ends_without_saying_so_was_cut() {
    on_a_runtime(async {
        let Line { mut client, client_socket, upstream: mut far, relay } = line(true, None).await;
        client.write_all(b"half of it").await.unwrap();
        client.flush().await.unwrap();
        let relaying = relayed(relay, Limits::default());
        let cut = async {
            far.read_exact(&mut [0; 10]).await.unwrap();
            client_socket.shutdown(std::net::Shutdown::Both).unwrap();
            far.read(&mut [0]).await
        };
        let (end, ended) = tokio::join!(relaying, cut);
        assert_eq!(end, End::Broken(Party::Client));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_was_said_before_a_break_still_comes() {
    on_a_runtime(async {
        let Line { mut client, upstream: mut far, mut relay, .. } = line(false, None).await;
        // The upstream answers and closes, without having read what the client says: that resets it.
        client.write_all(b"a long request").await.unwrap();
        during(&mut relay, far.peek(&mut [0])).await.unwrap();
        far.write_all(b"no").await.unwrap();
        drop(far);
        client.write_all(b", and more of it").await.unwrap();
        assert_eq!(relayed(relay, Limits::default()).await, End::Broken(Party::Upstream));
        let mut heard = Vec::new();
        let ended = client.read_to_end(&mut heard).await;
        assert_eq!((heard.as_slice(), ended.is_err()), (&b"no"[..], true));
    });
}

#[test]
fn who_said_all_and_takes_nothing_more_is_gone() {
    on_a_runtime(async {
        let Line { mut client, upstream: far, mut relay, .. } = line(false, None).await;
        // Its end is one, and is passed on; only what the client says then is answered with a reset.
        drop(far);
        during(&mut relay, client.read(&mut [0])).await.unwrap();
        client.write_all(b"hello?").await.unwrap();
        assert_eq!(relayed(relay, Limits::default()).await, End::Broken(Party::Upstream));
    });
}

#[test]
fn an_idle_relay_is_small() {
    assert!(size_of::<Relay>() <= 272, "{}", size_of::<Relay>());
}
