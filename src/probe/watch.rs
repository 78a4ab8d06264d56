//! One connection to one CLI, for all that fairlead asks for itself: probes, look-ups, lists; and for what the CLI tells
//! everybody. Carries nothing of a client's.
//!
//! A probe is a JSON-RPC ping, because a stopped process still accepts TCP. It fails only if no byte came from the CLI
//! on any connection since it was sent: a CLI that chews on a large frame is busy, not dead.

mod greeting;

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

use self::greeting::{Greeting, read_hello, request, who_we_are};
use crate::health::state::{Seen, State};
use crate::id::SessionId;
use crate::rpc::frame::{Decoder, Frame, FrameLimits};
use crate::rpc::message::{self, UpstreamMessage};
use crate::time::{self, Duration, Instant};
use crate::upstream::ask::Ask;
use crate::upstream::connect::connect;
use crate::upstream::hub::Notice;
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
    /// Frames of the CLI, in bytes.
    pub frame: FrameLimits,
}

/// Between two batches of broadcasts, so that many turns at once do not wake every conn for every event. The first
/// broadcast after a quiet time goes out at once.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Broadcasts in one batch, at most.
const MAX_BATCH: usize = 256;

/// Questions that are written at once, at most.
const ASKS_AT_ONCE: usize = 64;

/// Before a CLI that could not be reached is tried again, at most.
const RETRY: Duration = Duration::from_secs(1);

/// The same, as long as it is not known whether one that had a watch lives.
const AGAIN: Duration = Duration::from_millis(100);

/// Watches a member for ever.
pub async fn watch(pool: Arc<Pool>, member: Arc<Member>, mut ears: Ears, with: Parameters) {
    // There was a watch, and whether its CLI lives is not known since.
    let mut lost = false;
    loop {
        let mut pause = with.interval.min(RETRY);
        if let Some(address) = member.address() {
            let began = time::now();
            let ended = match meet(address, &pool, &member, &with).await {
                Ok(watch) => {
                    lost = false;
                    match watch.run(&mut ears).await.err() {
                        Some(error) if error.kind() == io::ErrorKind::TimedOut => {
                            Ended::Dead(error)
                        }
                        error => Ended::Lost(error),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ended::Refused,
                Err(error) if lost && is_dead(&error, &member, &with) => Ended::Dead(error),
                Err(error) => Ended::NeverMet(error),
            };
            if let Ended::Lost(Some(error)) | Ended::Dead(error) | Ended::NeverMet(error) = &ended {
                let error = error as &dyn std::error::Error;
                tracing::debug!(pool = pool.name, upstream = member.name, error, "the watch ended");
            }
            member.metrics.health_checks.inc("failed");
            match &ended {
                // The connection broke, perhaps nothing else: who answers a second one lives.
                Ended::Lost(_) => {
                    lost = true;
                    pause = pause.min(AGAIN);
                    if time::now() >= began + RETRY {
                        continue;
                    }
                }
                Ended::NeverMet(_) if lost => {
                    see(&pool, &member, Seen::Gone);
                    pause = pause.min(AGAIN);
                }
                Ended::Dead(_) | Ended::Refused | Ended::NeverMet(_) => {
                    lost = false;
                    report(&pool, &member, &ended);
                }
            }
        } else if std::mem::take(&mut lost) {
            pool.member_dead(&member);
        }
        refuse_for(&member, &mut ears, pause).await;
    }
}

/// Whether a CLI that we cannot reach any more is dead: its port is closed, or it says nothing at all for long.
fn is_dead(error: &io::Error, member: &Member, with: &Parameters) -> bool {
    let silent = || time::now() >= member.last_heard() + with.dead_after;
    error.kind() == io::ErrorKind::ConnectionRefused || silent()
}

/// How a watch ended.
enum Ended {
    /// It was there, and is gone: by a FIN, or by an error.
    Lost(Option<io::Error>),
    /// The CLI is dead.
    Dead(io::Error),
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

/// Says what the end of a watch means. Whether a CLI is down may be known for long: links are lost when it is dead.
fn report(pool: &Arc<Pool>, member: &Arc<Member>, ended: &Ended) {
    match ended {
        Ended::Refused => see(pool, member, Seen::Refused),
        Ended::NeverMet(_) if member.state() == State::Misconfigured => {
            see(pool, member, Seen::Gone);
        }
        Ended::NeverMet(_) => see(pool, member, Seen::Silent),
        Ended::Lost(_) => {}
        Ended::Dead(_) => {
            see(pool, member, Seen::Gone);
            pool.member_dead(member);
        }
    }
}

fn see(pool: &Pool, member: &Member, seen: Seen) {
    if let Some(change) = member.see(seen) {
        pool.member_changed(member, change);
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
    /// How many may wait before those that nobody waits for are looked for.
    sweep_at: usize,
    /// What the CLI told everybody, and nobody has been told yet.
    told: Vec<Notice>,
    /// When they may be told again.
    tell_at: Instant,
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
            sweep_at: ASKS_AT_ONCE,
            told: Vec::new(),
            tell_at: time::now(),
            probe: None,
            judged: false,
            next_id: CONNECT + 1,
        }
    }

    async fn run(mut self, ears: &mut Ears) -> io::Result<()> {
        let mut ticks = interval(self.with.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; 16 * 1024];
        let mut asks = Vec::new();
        loop {
            let (judged, tell) = (self.judge_at(), self.tell_at);
            tokio::select! {
                read = self.reader.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    n => self.heard(buffer.get(..n).unwrap_or_default())?,
                },
                1.. = ears.asks.recv_many(&mut asks, ASKS_AT_ONCE) => self.ask(&mut asks).await?,
                Some(seen) = ears.hints.recv() => {
                    see(self.pool, self.member, seen);
                    self.send_probe().await?;
                }
                _ = ticks.tick() => match self.probe {
                    Some(_) if self.judged => self.judge(&mut buffer)?,
                    Some(_) => {}
                    None => self.send_probe().await?,
                },
                () = tokio::time::sleep_until(judged) => self.judge(&mut buffer)?,
                () = tokio::time::sleep_until(tell), if !self.told.is_empty() => {}
            }
            if !self.told.is_empty() && time::now() >= self.tell_at {
                self.tell();
            }
        }
    }

    /// `connect`, alone; its answer is the first sign of life.
    async fn greet(&mut self) -> io::Result<()> {
        let params = who_we_are(self.member.token().as_ref());
        self.write(&request("connect", &params, CONNECT)).await?;
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
            Greeting::Refused => return Err(io::ErrorKind::PermissionDenied.into()),
            Greeting::Unknown => {}
        }
        see(self.pool, self.member, Seen::Answered);
        self.member.metrics.health_checks.inc("ok");
        Ok(())
    }

    /// A ping; or where links are refused, another `connect`: only that says whether they would be now.
    async fn send_probe(&mut self) -> io::Result<()> {
        if self.probe.is_none() {
            let id = self.next_id();
            let probe = match self.member.state() {
                State::Misconfigured => {
                    request("connect", &who_we_are(self.member.token().as_ref()), id)
                }
                State::Starting | State::Up | State::Down | State::Leaving => {
                    request("ping", "{}", id)
                }
            };
            self.write(&probe).await?;
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

    /// Whether the CLI was silent for too long. What it said while we had no time to read is there: it counts first.
    fn judge(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self.reader.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.judge_silence(),
            Err(error) => Err(error),
            // Whoever reads next sees that it ended.
            Ok(0) => Ok(()),
            Ok(n) => self.heard(buffer.get(..n).unwrap_or_default()),
        }
    }

    fn judge_silence(&mut self) -> io::Result<()> {
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

    async fn ask(&mut self, asks: &mut Vec<Ask>) -> io::Result<()> {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|_, reply| !reply.is_closed());
            self.sweep_at = ASKS_AT_ONCE.max(2 * self.waiting.len());
        }
        let mut frames = String::new();
        for ask in asks.drain(..).filter(|ask| !ask.reply.is_closed()) {
            let id = self.next_id();
            self.waiting.insert(id, ask.reply);
            frames.push_str(&request(ask.method, &ask.params, id));
        }
        self.write(&frames).await
    }

    fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Writes requests. A CLI that takes no bytes is as good as one that gives none.
    async fn write(&mut self, frames: &str) -> io::Result<()> {
        timeout(self.with.dead_after, self.writer.write_all(frames.as_bytes())).await?
    }

    fn heard(&mut self, input: &[u8]) -> io::Result<()> {
        self.member.heard(time::now());
        self.bytes(input)
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
        if matches!(read_hello(body), Greeting::Refused) {
            self.member.metrics.health_checks.inc("failed");
            return see(self.pool, self.member, Seen::Refused);
        }
        self.member.metrics.health_checks.inc("ok");
        see(self.pool, self.member, Seen::Answered);
    }

    fn notice(&mut self, session: &str, body: &Bytes) {
        self.told.push(Notice(SessionId::new(session), body.clone(), time::now()));
        if self.told.len() >= MAX_BATCH {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let dropped = self.pool.hub.broadcast(self.member.id, std::mem::take(&mut self.told));
        self.pool.metrics.broadcasts_dropped.inc_by(dropped as u64);
        self.tell_at = time::now() + TELL_EVERY;
    }
}

impl Drop for Watch<'_> {
    /// However it ended, what the CLI said before is told.
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests;
