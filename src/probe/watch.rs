//! One connection to one CLI, for all that fairlead asks for itself: probes, look-ups, lists; and for what the CLI tells
//! everybody. Carries nothing of a client's.
//!
//! A probe is a JSON-RPC ping, because a stopped process still accepts TCP. It fails only if no byte came from the CLI
//! on any connection since it was sent: a CLI that chews on a large frame is busy, not dead.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::error::push_json_string;
use crate::health::state::{Seen, State};
use crate::id::SessionId;
use crate::rpc::frame::{Decoder, Frame, FrameLimits};
use crate::rpc::message::{self, UpstreamMessage};
use crate::rpc::mux::{Hello, LinkToken};
use crate::time::{self, Duration, Instant};
use crate::upstream::ask::Ask;
use crate::upstream::connect::connect;
use crate::upstream::hub::Event;
use crate::upstream::member::{Ears, Member};
use crate::upstream::pool::Pool;

/// How a member is watched.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Between probes.
    pub interval: Duration,
    /// For the answer to a probe.
    pub timeout: Duration,
    /// Of silence with a probe outstanding, before links are lost.
    pub dead_after: Duration,
    /// What the CLI is told first.
    pub token: Option<LinkToken>,
    /// Frames of the CLI, in bytes.
    pub frame: FrameLimits,
}

/// Before a CLI that could not be reached is tried again, at most.
const RETRY: Duration = Duration::from_secs(1);

/// Watches a member for ever.
pub async fn watch(pool: Arc<Pool>, member: Arc<Member>, mut ears: Ears, with: Parameters) {
    loop {
        if let Some(address) = member.address() {
            let ended = match meet(address, &pool, &member, &with).await {
                Ok(watch) => Ended::Lost(watch.run(&mut ears).await.err()),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ended::Refused,
                Err(error) => Ended::NeverMet(error),
            };
            if let Ended::Lost(Some(error)) | Ended::NeverMet(error) = &ended {
                let error = error as &dyn std::error::Error;
                tracing::debug!(pool = pool.name, upstream = member.name, error, "the watch ended");
            }
            member.metrics.health_checks.inc("failed");
            report(&pool, &member, &ended);
        }
        refuse_for(&member, &mut ears, with.interval.min(RETRY)).await;
    }
}

/// How a watch ended.
enum Ended {
    /// It was there, and is gone: by a FIN, or by an error.
    Lost(Option<io::Error>),
    /// The CLI answers, and does not let us in.
    Refused,
    /// There was none.
    NeverMet(io::Error),
}

/// Connects and says who we are.
async fn meet<'a>(
    address: SocketAddr,
    pool: &'a Arc<Pool>,
    member: &'a Arc<Member>,
    with: &'a Parameters,
) -> io::Result<Watch<'a>> {
    let stream = connect(address, with.timeout).await?;
    let mut watch = Watch::new(stream, pool, member, with);
    watch.greet().await?;
    Ok(watch)
}

/// Says what the end of a watch means. Whether a CLI is down may be known for long: links are lost when its watch is.
fn report(pool: &Arc<Pool>, member: &Arc<Member>, ended: &Ended) {
    match ended {
        Ended::Refused => see(pool, member, Seen::Refused),
        Ended::NeverMet(_) if member.state() == State::Misconfigured => {
            see(pool, member, Seen::Gone);
        }
        Ended::NeverMet(_) => see(pool, member, Seen::Silent),
        Ended::Lost(_) => {
            see(pool, member, Seen::Gone);
            pool.member_dead(member);
        }
    }
}

fn see(pool: &Pool, member: &Member, seen: Seen) {
    if let Some(state) = member.see(seen) {
        pool.member_changed(member, state);
    }
}

/// Waits, until the CLI is somewhere else at the latest; whoever asks something meanwhile hears at once that nobody is
/// there.
async fn refuse_for(member: &Member, ears: &mut Ears, wait: Duration) {
    let _ = timeout(wait, async {
        loop {
            tokio::select! {
                () = member.moved() => return,
                Some(ask) = ears.asks.recv() => drop(ask),
                Some(_) = ears.hints.recv() => {}
                else => std::future::pending().await,
            }
        }
    })
    .await;
}

/// One `watch` connection.
struct Watch<'a> {
    reader: OwnedReadHalf,
    writer: Pin<Box<OwnedWriteHalf>>,
    decoder: Decoder,
    pool: &'a Arc<Pool>,
    member: &'a Arc<Member>,
    with: &'a Parameters,
    waiting: AHashMap<u64, oneshot::Sender<Bytes>>,
    probe: Option<(u64, Instant)>,
    judged: bool,
    next_id: u64,
}

/// The id of our `connect`.
const CONNECT: u64 = 0;

impl<'a> Watch<'a> {
    fn new(
        stream: TcpStream,
        pool: &'a Arc<Pool>,
        member: &'a Arc<Member>,
        with: &'a Parameters,
    ) -> Self {
        let (reader, writer) = stream.into_split();
        Watch {
            reader,
            writer: Box::pin(writer),
            decoder: Decoder::new(with.frame),
            pool,
            member,
            with,
            waiting: AHashMap::new(),
            probe: None,
            judged: false,
            next_id: CONNECT + 1,
        }
    }

    async fn run(mut self, ears: &mut Ears) -> io::Result<()> {
        let mut ticks = interval(self.with.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let judged = self.judge_at();
            tokio::select! {
                read = self.reader.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    n => {
                        self.member.heard(time::now());
                        self.bytes(buffer.get(..n).unwrap_or_default())?;
                    }
                },
                Some(ask) = ears.asks.recv() => self.ask(ask).await?,
                Some(seen) = ears.hints.recv() => {
                    see(self.pool, self.member, seen);
                    self.send_probe().await?;
                }
                _ = ticks.tick() => match self.probe {
                    Some(_) if self.judged => self.judge()?,
                    Some(_) => {}
                    None => self.send_probe().await?,
                },
                () = tokio::time::sleep_until(judged) => self.judge()?,
            }
        }
    }

    /// `connect`, alone; its answer is the first sign of life.
    async fn greet(&mut self) -> io::Result<()> {
        let mut params = String::from("{");
        if let Some(token) = &self.with.token {
            params.push_str(r#""token":"#);
            push_json_string(&mut params, &token.0);
        }
        params.push('}');
        self.write("connect", &params, CONNECT).await?;
        let (reply, answer) = oneshot::channel();
        self.waiting.insert(CONNECT, reply);
        let limit = self.with.timeout;
        let reading = async {
            let mut buffer = vec![0; 4096];
            while self.waiting.contains_key(&CONNECT) {
                match self.reader.read(&mut buffer).await? {
                    0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    n => self.bytes(buffer.get(..n).unwrap_or_default())?,
                }
            }
            Ok::<(), io::Error>(())
        };
        timeout(limit, reading).await??;
        self.member.heard(time::now());
        let frame = answer.await.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.greeted(&frame)
    }

    fn greeted(&mut self, frame: &Bytes) -> io::Result<()> {
        match read_hello(frame) {
            Greeting::Hello(hello) => self.member.set_hello(hello),
            Greeting::Refused(code) => {
                if self.member.state() != State::Misconfigured {
                    tracing::error!(
                        pool = self.pool.name,
                        upstream = self.member.name,
                        code,
                        "the CLI refuses the pool's token"
                    );
                }
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Greeting::Unknown => {}
        }
        see(self.pool, self.member, Seen::Answered);
        self.member.metrics.health_checks.inc("ok");
        Ok(())
    }

    async fn send_probe(&mut self) -> io::Result<()> {
        if self.probe.is_none() {
            let id = self.next_id;
            self.next_id += 1;
            self.write("ping", "{}", id).await?;
            self.probe = Some((id, time::now()));
            self.judged = false;
        }
        Ok(())
    }

    /// When the probe that is out must be judged next.
    fn judge_at(&self) -> Instant {
        match self.probe {
            Some((_, sent)) if !self.judged => sent + self.with.timeout,
            Some((_, sent)) => sent + self.with.dead_after,
            None => time::now() + Duration::from_secs(3600),
        }
    }

    fn judge(&mut self) -> io::Result<()> {
        let Some((_, sent)) = self.probe else { return Ok(()) };
        let now = time::now();
        let heard = self.member.last_heard();
        if heard > sent {
            // Busy, not dead: judge again from its last byte on.
            self.probe = self.probe.map(|(id, _)| (id, heard));
            self.judged = false;
        } else if now >= sent + self.with.dead_after {
            tracing::error!(
                pool = self.pool.name,
                upstream = self.member.name,
                "the CLI is silent: its links are lost"
            );
            return Err(io::ErrorKind::TimedOut.into());
        } else {
            // Each interval without a byte is one more failed probe.
            self.judged = true;
            self.member.metrics.health_checks.inc("failed");
            see(self.pool, self.member, Seen::Silent);
        }
        Ok(())
    }

    async fn ask(&mut self, ask: Ask) -> io::Result<()> {
        self.waiting.retain(|_, reply| !reply.is_closed());
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert(id, ask.reply);
        self.write(ask.method, &ask.params, id).await
    }

    /// Writes a request. A CLI that takes no bytes is as good as one that gives none.
    async fn write(&mut self, method: &str, params: &str, id: u64) -> io::Result<()> {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        timeout(self.with.dead_after, self.writer.write_all(frame.as_bytes())).await?
    }

    fn bytes(&mut self, mut input: &[u8]) -> io::Result<()> {
        loop {
            match self.decoder.next(&mut input) {
                Ok(Some(Frame::Whole(body))) => self.frame(body.to_bytes()),
                Ok(Some(Frame::TooLarge(_))) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(io::Error::other(error.slug())),
            }
        }
    }

    fn frame(&mut self, body: Bytes) {
        match message::read_upstream(&body) {
            Some(UpstreamMessage::Response { id, .. }) => {
                let Ok(id) = id.parse::<u64>() else { return };
                if self.probe.is_some_and(|(probe, _)| probe == id) {
                    self.probed(&body);
                } else if let Some(reply) = self.waiting.remove(&id) {
                    // Nobody may wait any more: that is their affair.
                    let _ = reply.send(body);
                }
            }
            Some(UpstreamMessage::Lifecycle { session, .. }) => self.notice(&session, &body),
            Some(UpstreamMessage::Notification { method, params }) => {
                if let Some(session) = message::session_of(&body, method, params) {
                    self.notice(&session, &body);
                }
            }
            Some(UpstreamMessage::Event { .. } | UpstreamMessage::Request { .. }) | None => {}
        }
    }

    fn probed(&mut self, body: &Bytes) {
        self.probe = None;
        self.judged = false;
        if message::says_shutting_down(body) {
            return see(self.pool, self.member, Seen::Leaving);
        }
        self.member.metrics.health_checks.inc("ok");
        see(self.pool, self.member, Seen::Answered);
    }

    fn notice(&self, session: &str, body: &Bytes) {
        let notice = Event::Notice(self.member.id, SessionId::new(session), body.clone());
        self.pool.hub.tell_all(&notice);
    }
}

enum Greeting {
    Hello(Hello),
    Refused(i64),
    /// An older CLI that knows no `connect`.
    Unknown,
}

fn read_hello(frame: &[u8]) -> Greeting {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Connected {
        version: String,
        protocol_version: u32,
        #[serde(default)]
        task_kinds: Vec<String>,
    }
    #[derive(serde::Deserialize)]
    struct Failure {
        code: i64,
    }
    #[derive(serde::Deserialize)]
    struct Response {
        result: Option<Connected>,
        error: Option<Failure>,
    }
    match serde_json::from_slice(frame) {
        Ok(Response { result: Some(hello), .. }) => Greeting::Hello(Hello {
            version: hello.version,
            protocol: hello.protocol_version,
            task_kinds: hello.task_kinds,
        }),
        Ok(Response { error: Some(Failure { code }), .. }) if (-32003..=-32001).contains(&code) => {
            Greeting::Refused(code)
        }
        _ => Greeting::Unknown,
    }
}
