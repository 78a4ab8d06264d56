//! One request to one upstream, and its answer back: bytes as they come, in both directions at once. Nothing is buffered
//! but what one read brought; nothing ends a stream but its ends, silence, and who cuts it.

use std::pin::Pin;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode, Version};
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::{HttpTask, ServerSession as Exchange};
use tokio::time::Sleep;

use super::body::Stash;
use super::guard::Flaw;
use super::headers::{self, Framing};
use super::io::Wire;
use crate::drain::Watcher;
use crate::time::{self, Duration, Instant};

/// The other end of a request.
pub type Upstream = HttpSession<()>;

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
    /// What was read of the body already.
    pub stash: &'a Stash,
    /// Bytes that the body may have; `None`: any.
    pub max_body: Option<u64>,
    /// How long who may be silent.
    pub patience: Patience,
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
    Trailers(HeaderMap),
}

/// Sends a request, and relays until its answer is through. `cut`: ready when everything has to end. `Ok(true)`: the
/// upstream's connection can serve another request.
pub async fn relay(
    client: &mut Exchange,
    upstream: &mut Upstream,
    head: Box<RequestHeader>,
    with: &With<'_>,
    cut: Pin<&mut (impl Future<Output = ()> + Send)>,
    tally: &mut Tally,
) -> Result<bool, Fault> {
    let mut relay = Relay {
        method: head.method.clone(),
        version: client.req_header().version,
        client,
        upstream,
        with,
        tally,
        request_over: false,
        answer: Answer::Awaited,
        sound: true,
        half: None,
    };
    let done = relay.run(head, cut).await;
    if let Some(wire) = with.wire {
        wire.cork(false);
    }
    done.map(|()| relay.sound && relay.request_over && !relay.tally.upgraded)
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
    tally: &'a mut Tally,
    method: Method,
    version: Version,
    request_over: bool,
    answer: Answer,
    /// All that was to be sent to the upstream was taken.
    sound: bool,
    /// Since when the client says no more, though its conn is there.
    half: Option<Instant>,
}

impl Relay<'_> {
    async fn run(
        &mut self,
        head: Box<RequestHeader>,
        mut cut: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Fault> {
        tokio::select! {
            biased;
            sent = self.begin(head) => sent?,
            () = cut.as_mut() => return Err(Fault::Cut),
        }
        if let Some(wire) = self.with.wire {
            wire.cork(true);
        }
        let mut heard = time::now();
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(self.due(heard)));
        while self.answer != Answer::Over {
            let awaited = self.answer == Answer::Awaited;
            tokio::select! {
                biased;
                told = next(self.upstream, awaited) => self.told(told).await?,
                body = self.client.read_body_or_idle(self.request_over), if self.half.is_none() => {
                    self.body(body).await?;
                }
                () = alarm.as_mut() => {
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

    /// Sends the head, and what is there of the body.
    async fn begin(&mut self, head: Box<RequestHeader>) -> Result<(), Fault> {
        let lost = |_| Fault::UpstreamLost;
        self.upstream.set_write_timeout(Some(self.with.patience.idle));
        let stash = self.with.stash;
        self.request_over = stash.is_whole || self.client.is_body_done();
        let bodiless = self.request_over && stash.is_empty();
        match self.upstream {
            HttpSession::H2(upstream) => upstream.write_request_header(head, bodiless),
            HttpSession::H1(upstream) => upstream.write_request_header(head).await.map(drop),
            HttpSession::Custom(()) => Err(pingora::Error::new(ErrorType::InternalError)),
        }
        .map_err(lost)?;
        for chunk in stash.chunks() {
            self.tally.bytes_in += chunk.len() as u64;
            self.upstream.write_request_body(chunk.clone(), false).await.map_err(lost)?;
        }
        if self.request_over && !bodiless {
            self.upstream.finish_request_body().await.map_err(lost)?;
        }
        Ok(())
    }

    /// How long it may be silent now.
    fn patience(&self) -> Duration {
        match self.answer {
            Answer::Awaited if self.request_over => self.with.patience.first_byte,
            Answer::Awaited => self.with.patience.body,
            Answer::Coming | Answer::Over => self.with.patience.idle,
        }
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
            (Answer::Awaited, Some(_)) => Fault::ClientLost,
            (Answer::Awaited, None) if !self.request_over => Fault::ClientTimeout,
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
            Ok(Told::Trailers(trailers)) => {
                let written = self.client.write_response_trailers(trailers).await;
                written.map_err(|error| client_fault(&error))?;
                // HTTP/1 takes none, and still has to hear the end.
                self.write(Bytes::new(), true).await
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
        if upgraded && !self.with.upgrade {
            return Err(Fault::BadAnswer);
        }
        let framing = self.framing(head, over)?;
        let parts = headers::response(status, &head.headers, framing, self.with.cookie.cloned());
        self.tally.status = Some(status);
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
                wire.open();
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
            Err(error) if self.is_half(&error) => {
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
            if !data.is_empty() {
                self.send(data, false).await.map_err(|_| Fault::UpstreamLost)?;
            }
            self.upstream.shutdown().await;
            return Ok(());
        }
        if self.sound && self.send(data, over).await.is_err() {
            // It may have answered already, and wants no more.
            self.sound = false;
            self.request_over = true;
        }
        Ok(())
    }

    /// Whether a client has said all it wants, and may still listen. It may have gone, too: nobody can tell.
    fn is_half(&self, error: &pingora::Error) -> bool {
        let ended = matches!(error.etype, ErrorType::ConnectionClosed);
        ended && self.request_over && self.with.wire.is_some()
    }

    async fn send(&mut self, data: Bytes, over: bool) -> pingora::Result<()> {
        if let HttpSession::H1(upstream) = self.upstream {
            upstream.maybe_upgrade_body_writer();
        }
        if !data.is_empty() {
            self.upstream.write_request_body(data, false).await?;
        }
        if over {
            self.upstream.finish_request_body().await?;
        }
        Ok(())
    }
}

fn client_fault(error: &pingora::Error) -> Fault {
    let late = matches!(error.etype, ErrorType::WriteTimedout | ErrorType::ReadTimedout);
    if late { Fault::ClientTimeout } else { Fault::ClientLost }
}

/// What the upstream says next.
async fn next(upstream: &mut Upstream, awaited: bool) -> pingora::Result<Told> {
    match upstream {
        HttpSession::H1(upstream) => Ok(match upstream.read_response_task().await? {
            HttpTask::Header(head, over) => Told::Head(head, over),
            HttpTask::Body(data, over) | HttpTask::UpgradedBody(data, over) => {
                Told::Body(data, over)
            }
            HttpTask::Trailer(_) | HttpTask::Done => Told::Body(None, true),
            HttpTask::Failed(error) => return Err(error),
        }),
        HttpSession::H2(upstream) if awaited => {
            upstream.read_response_header().await?;
            let over = upstream.check_response_end_or_error()?;
            let head = upstream.response_header().cloned();
            let head = head.ok_or_else(|| pingora::Error::new(ErrorType::H2Error))?;
            Ok(Told::Head(Box::new(head), over))
        }
        HttpSession::H2(upstream) => {
            let Some(data) = upstream.read_response_body().await? else {
                let trailers = upstream.read_trailers().await?;
                return Ok(trailers.map_or(Told::Body(None, true), Told::Trailers));
            };
            Ok(Told::Body(Some(data), upstream.check_response_end_or_error()?))
        }
        HttpSession::Custom(()) => Err(pingora::Error::new(ErrorType::InternalError)),
    }
}
