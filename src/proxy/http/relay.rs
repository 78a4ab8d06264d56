//! One request to one upstream, and its answer back: bytes as they come, in both directions at once. Nothing is buffered
//! but what one read brought, and little before it; neither direction waits for the other; nothing ends a stream but its ends, silence, and who cuts it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::header;
use http::{Method, StatusCode, Version};
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession as Upstream;
use pingora::protocols::http::{HttpTask, ServerSession as Exchange};
use tokio::time::Sleep;

use super::body::Stash;
use super::guard::Flaw;
use super::headers::{self, Framing};
use super::io::Wire;
use super::upstream::Outgoing;
use crate::drain::Watcher;
use crate::time::{self, Duration, Instant};

/// What an upstream may say in a row before the client is asked whether it says anything.
const STREAK: u32 = 16;

/// How long who may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the last byte of the request to the first of the answer.
    pub first_byte: Duration,
    /// Between bytes of the request.
    pub body: Duration,
    /// Between bytes of the answer, and of what both agreed to speak instead.
    pub idle: Duration,
    /// From when a client has closed its side to the first byte of the answer.
    pub half: Duration,
}

/// What goes with a request on its way.
pub struct With<'a> {
    /// What the client's stream is told; `None`: HTTP/2.
    pub wire: Option<&'a Wire>,
    /// Likewise the upstream's.
    pub outgoing: &'a Outgoing,
    /// Bytes that the body may have; `None`: any.
    pub max_body: Option<u64>,
    /// How long who may be silent.
    pub patience: Patience,
    /// If nothing is answered, it is sent once more.
    pub may_repeat: bool,
    /// The request asks to go on as WebSocket.
    pub upgrade: bool,
    /// The client was told to go on with its body.
    pub expectation_met: bool,
    /// Whether we are about to leave: then the answer is the last one of its conn.
    pub leaving: &'a Watcher,
    /// What the answer is to set, if it comes.
    pub cookie: Option<&'a header::HeaderValue>,
}

/// What was relayed, as far as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// The status that the client got.
    pub status: Option<StatusCode>,
    /// When the head of the answer came.
    pub answered: Option<Instant>,
    /// Bytes of bodies, from the client.
    pub bytes_in: u64,
    /// Likewise, to the client.
    pub bytes_out: u64,
    /// Both went on as WebSocket.
    pub upgraded: bool,
    /// The body was read beyond the stash: it cannot be sent again.
    pub consumed: bool,
}

/// How it ended, if not by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The upstream went away.
    UpstreamLost,
    /// It said nothing in time.
    UpstreamTimeout,
    /// It said what is no answer.
    BadAnswer,
    /// The client went away.
    ClientLost,
    /// The client sent nothing, or took nothing, in time.
    ClientTimeout,
    /// The client's body broke its framing.
    Flawed(Flaw),
    /// The client's body is larger than it may be.
    BodyTooLarge,
    /// We were told to end it.
    Cut,
}

/// What an upstream says.
enum Told {
    Head(Box<ResponseHeader>, bool),
    Body(Option<Bytes>, bool),
}

/// Sends a request, and relays until its answer is through. `stash`: what was read of its body already; it is let go once it is
/// not needed any more. `cut`: ready when everything has to end. `Ok(true)`: the
/// upstream's connection can serve another request.
pub async fn relay(
    client: &mut Exchange,
    upstream: &mut Upstream,
    head: Box<RequestHeader>,
    with: &With<'_>,
    stash: &mut Stash,
    cut: Pin<&mut (impl Future<Output = ()> + Send)>,
    tally: &mut Tally,
) -> Result<bool, Fault> {
    let mut relay = Relay {
        method: head.method.clone(),
        version: client.req_header().version,
        client,
        upstream,
        with,
        stash,
        tally,
        request_over: false,
        answer: Answer::Awaited,
        half: None,
        taken: 0,
    };
    let done = relay.run(head, cut).await;
    if let Some(wire) = with.wire {
        wire.cork(false);
        wire.level.pause(false);
    }
    with.outgoing.level.pause(false);
    let sound = relay.request_over && with.outgoing.is_clear() && !relay.tally.upgraded;
    done.map(|()| sound)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Coming,
    Over,
}

struct Relay<'a> {
    client: &'a mut Exchange,
    upstream: &'a mut Upstream,
    with: &'a With<'a>,
    stash: &'a mut Stash,
    tally: &'a mut Tally,
    method: Method,
    version: Version,
    request_over: bool,
    answer: Answer,
    /// Since when the client says no more, though its conn is there.
    half: Option<Instant>,
    /// What both had taken when that was last looked at.
    taken: usize,
}

impl Relay<'_> {
    async fn run(
        &mut self,
        head: Box<RequestHeader>,
        mut cut: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Fault> {
        self.begin(head).await?;
        if let Some(wire) = self.with.wire {
            wire.cork(true);
        }
        let mut heard = time::now();
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(self.due(heard)));
        let mut streak = 0;
        self.has_moved();
        while self.answer != Answer::Over {
            if streak == STREAK {
                streak = 0;
                // One that always has something to say does not keep others from being heard.
                let more = more(self.client, self.request_over, self.with);
                tokio::select! {
                    biased;
                    () = cut.as_mut() => return Err(Fault::Cut),
                    body = more, if self.half.is_none() => self.body(body).await?,
                    () = std::future::ready(()) => {}
                }
            }
            let next = next(self.upstream, self.with, self.half.is_some());
            let more = more(self.client, self.request_over, self.with);
            tokio::select! {
                biased;
                // This also sends what is on its way, and makes room for more.
                told = next => {
                    streak += 1;
                    tokio::select! {
                        biased;
                        done = self.told(told) => done?,
                        () = cut.as_mut() => return Err(Fault::Cut),
                    }
                }
                body = more, if self.half.is_none() => {
                    streak = 0;
                    self.body(body).await?;
                }
                () = alarm.as_mut() => {
                    if self.has_moved() {
                        heard = time::now();
                    }
                    if !self.rearm(alarm.as_mut(), heard) {
                        return Err(self.silence());
                    }
                    continue;
                }
                () = cut.as_mut() => return Err(Fault::Cut),
            }
            heard = time::now();
            if alarm.deadline() > self.due(heard) {
                alarm.as_mut().reset(self.due(heard));
            }
        }
        Ok(())
    }

    /// When it has been silent for too long.
    fn due(&self, heard: Instant) -> Instant {
        let due = heard + self.patience();
        match self.half.filter(|_| self.answer == Answer::Awaited) {
            Some(since) => due.min(since + self.with.patience.half),
            None => due,
        }
    }

    /// Begins with the head, and what is there of the body.
    async fn begin(&mut self, head: Box<RequestHeader>) -> Result<(), Fault> {
        let lost = |_| Fault::UpstreamLost;
        let stash = &*self.stash;
        // It may have been begun before.
        self.tally.bytes_in = 0;
        self.request_over = stash.is_whole || self.client.is_body_done();
        self.upstream.write_request_header(head).await.map_err(lost)?;
        for chunk in stash.chunks() {
            self.tally.bytes_in += chunk.len() as u64;
            self.upstream.write_body(chunk).await.map_err(lost)?;
        }
        if self.request_over && !stash.is_empty() {
            self.upstream.finish_body().await.map_err(lost)?;
        }
        if !self.with.may_repeat {
            self.stash.release();
        }
        Ok(())
    }

    /// How long it may be silent now.
    fn patience(&self) -> Duration {
        let patience = &self.with.patience;
        match self.answer {
            Answer::Awaited if self.is_said() => patience.first_byte,
            Answer::Awaited => patience.body,
            Answer::Coming | Answer::Over => patience.idle,
        }
    }

    /// Whether the upstream has heard all that it wants to hear.
    fn is_said(&self) -> bool {
        self.request_over || self.with.outgoing.is_refused()
    }

    /// Whether either has taken anything since this was last asked.
    fn has_moved(&mut self) -> bool {
        let by_client = self.with.wire.map_or(0, |wire| wire.level.taken());
        let taken = self.with.outgoing.level.taken().wrapping_add(by_client);
        std::mem::replace(&mut self.taken, taken) != taken
    }

    /// Sets the alarm to when it is really due, if that is not now.
    fn rearm(&self, alarm: Pin<&mut Sleep>, heard: Instant) -> bool {
        let due = self.due(heard);
        let early = due > time::now();
        if early {
            alarm.reset(due);
        }
        early
    }

    /// Whose silence it was.
    fn silence(&self) -> Fault {
        match (self.answer, self.half) {
            _ if self.with.wire.is_some_and(|wire| !wire.level.has_room()) => Fault::ClientTimeout,
            _ if !self.with.outgoing.level.is_empty() => Fault::UpstreamTimeout,
            (Answer::Awaited, Some(_)) => Fault::ClientLost,
            (Answer::Awaited, None) if !self.is_said() => Fault::ClientTimeout,
            (Answer::Awaited | Answer::Coming | Answer::Over, _) => Fault::UpstreamTimeout,
        }
    }

    async fn told(&mut self, told: pingora::Result<Told>) -> Result<(), Fault> {
        match told {
            Ok(Told::Head(head, over)) => self.head(&head, over).await,
            Ok(Told::Body(data, over)) => {
                let data = data.unwrap_or_default();
                self.tally.bytes_out += data.len() as u64;
                self.write(data, over).await
            }
            Err(error) if matches!(error.etype, ErrorType::InvalidHTTPHeader) => {
                Err(Fault::BadAnswer)
            }
            Err(_) => Err(Fault::UpstreamLost),
        }
    }

    async fn write(&mut self, data: Bytes, over: bool) -> Result<(), Fault> {
        if over {
            self.answer = Answer::Over;
            self.uncork();
        }
        self.client.write_response_body(data, over).await.map_err(|error| client_fault(&error))
    }

    /// What was held back goes out with what comes now.
    fn uncork(&self) {
        if let Some(wire) = self.with.wire {
            wire.cork(false);
        }
    }

    async fn head(&mut self, head: &ResponseHeader, over: bool) -> Result<(), Fault> {
        let status = head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return self.interim(head).await;
        }
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        // Pingora takes none up that is of HTTP/1.0.
        let agreed = self.with.upgrade && headers::is_to_websocket(&head.headers);
        if upgraded && !(agreed && self.upstream.was_upgraded()) {
            return Err(Fault::BadAnswer);
        }
        let framing = self.framing(head, over)?;
        let parts = headers::response(status, &head.headers, framing, self.with.cookie.cloned());
        self.tally.status = Some(status);
        self.stash.release();
        self.tally.answered = Some(time::now());
        self.answer = Answer::Coming;
        if upgraded || over {
            self.uncork();
        }
        if self.with.leaving.mode().is_some() {
            self.client.set_keepalive(None);
        }
        let written = self.client.write_response_header(Box::new(parts.into())).await;
        written.map_err(|error| client_fault(&error))?;
        if upgraded {
            self.tally.upgraded = true;
            self.request_over = false;
            if let Some(wire) = self.with.wire {
                wire.tunnel();
            }
        } else if over {
            self.write(Bytes::new(), true).await?;
        }
        Ok(())
    }

    /// An answer before the answer. One that our own made needless is dropped; HTTP/1.0 knows none.
    async fn interim(&mut self, head: &ResponseHeader) -> Result<(), Fault> {
        let needless = head.status == StatusCode::CONTINUE && self.with.expectation_met;
        if needless || self.version != Version::HTTP_11 {
            return Ok(());
        }
        let parts = headers::response(head.status, &head.headers, Framing::None, None);
        let kept = self.client.get_keepalive();
        let written = self.client.write_response_header(Box::new(parts.into())).await;
        // Pingora takes an answer before the end of the body for the last one.
        self.client.set_keepalive(kept);
        written.map_err(|error| client_fault(&error))
    }

    /// How the answer is framed for the client.
    fn framing(&self, head: &ResponseHeader, over: bool) -> Result<Framing, Fault> {
        let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked =
            codings.next().is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err(Fault::BadAnswer);
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| super::guard::number(value.as_bytes()));
        let status = head.status;
        let none = self.method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || status == StatusCode::SWITCHING_PROTOCOLS;
        Ok(match length {
            // What a body would be like that is not sent.
            Some(length) if status != StatusCode::NO_CONTENT && !status.is_informational() => {
                Framing::Length(length)
            }
            Some(_) | None if none => Framing::None,
            Some(_) | None if over => Framing::Length(0),
            // To HTTP/1.0 the body ends with the connection.
            Some(_) | None if self.version == Version::HTTP_11 => Framing::Chunks,
            Some(_) | None => Framing::None,
        })
    }

    async fn body(&mut self, body: pingora::Result<Option<Bytes>>) -> Result<(), Fault> {
        let data = match body {
            Ok(data) => data,
            Err(error) if self.request_over && is_half(&error, self.with.wire) => {
                self.half = Some(time::now());
                // Nobody waits for the client any more: what is written goes out at once.
                self.uncork();
                return Ok(());
            }
            Err(error) => {
                let flaw = self.with.wire.and_then(Wire::flaw);
                return Err(flaw.map_or_else(|| client_fault(&error), Fault::Flawed));
            }
        };
        let over = data.is_none() || self.client.is_body_done();
        let data = data.unwrap_or_default();
        self.tally.consumed = true;
        self.tally.bytes_in += data.len() as u64;
        if self.with.max_body.is_some_and(|most| self.tally.bytes_in > most) && !self.tally.upgraded
        {
            return Err(Fault::BodyTooLarge);
        }
        self.request_over = over;
        if over && self.tally.upgraded {
            // The other side may have last words.
            self.half = Some(time::now());
            self.with.outgoing.end();
            return self.send(&data, false).await;
        }
        self.send(&data, over).await
    }

    async fn send(&mut self, data: &[u8], over: bool) -> Result<(), Fault> {
        let lost = |_| Fault::UpstreamLost;
        self.upstream.maybe_upgrade_body_writer();
        if !data.is_empty() {
            self.upstream.write_body(data).await.map_err(lost)?;
        }
        if over {
            self.upstream.finish_body().await.map_err(lost)?;
        }
        Ok(())
    }
}

/// Whether a client that said all of its request says no more, by what was read of it, and may still listen. It may have gone,
/// too: nobody can tell.
pub fn is_half(error: &pingora::Error, wire: Option<&Wire>) -> bool {
    wire.is_some() && matches!(error.etype, ErrorType::ConnectionClosed)
}

fn client_fault(error: &pingora::Error) -> Fault {
    let late = matches!(error.etype, ErrorType::WriteTimedout | ErrorType::ReadTimedout);
    if late { Fault::ClientTimeout } else { Fault::ClientLost }
}

/// What the client says next, once the upstream has room for it. Only for who has polled the upstream before this, in the same
/// task: that is what makes room.
async fn more(
    client: &mut Exchange,
    over: bool,
    with: &With<'_>,
) -> pingora::Result<Option<Bytes>> {
    let mut read = pin!(client.read_body_or_idle(over));
    poll_fn(|cx| {
        let room = with.outgoing.has_room();
        match with.wire {
            // Reading is also what lets go of the answer that is held back: so the stream is asked in any case.
            Some(wire) => wire.level.pause(!room),
            None if !room => return Poll::Pending,
            None => {}
        }
        read.as_mut().poll(cx)
    })
    .await
}

/// What the upstream says next, once the client has room for it. `at_once`: who writes to the client waits for it.
async fn next(upstream: &mut Upstream, with: &With<'_>, at_once: bool) -> pingora::Result<Told> {
    let mut read = pin!(upstream.read_response_task());
    let task = poll_fn(|cx| {
        let room = at_once || with.wire.is_none_or(|wire| wire.level.has_room());
        // Reading is also what sends the request: so the stream is asked in any case.
        with.outgoing.level.pause(!room);
        read.as_mut().poll(cx)
    });
    Ok(match task.await? {
        HttpTask::Header(head, over) => Told::Head(head, over),
        HttpTask::Body(data, over) | HttpTask::UpgradedBody(data, over) => Told::Body(data, over),
        // Pingora's HTTP/1 reads over trailers.
        HttpTask::Trailer(_) | HttpTask::Done => Told::Body(None, true),
        HttpTask::Failed(error) => return Err(error),
    })
}
