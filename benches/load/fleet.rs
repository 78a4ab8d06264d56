//! Conns with one session each, and one epoll for them all. Knows frames, but no scenario.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use fairlead::testing::wire;
use fairlead::time::{self, Duration};
use memchr::memmem;
use rustix::event::{Timespec, epoll};

/// What one read can bring, in bytes.
const READ: usize = 64 * 1024;
/// For an answer while conns are opened, and for the last ones of a run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Sessions that are created at a time: a fleet's conns do not come in one millisecond.
const AT_ONCE: usize = 50;
/// The id of the `session.create` that opens a conn; a scenario counts from above it.
pub(crate) const OPENED: u64 = 2;

/// One conn.
pub(crate) struct Client {
    socket: TcpStream,
    /// Bytes of a frame that is not whole yet.
    rest: Vec<u8>,
    /// What is to be written.
    pub(crate) out: Vec<u8>,
    pub(crate) session: String,
}

/// All conns.
pub(crate) struct Fleet {
    pub(crate) clients: Vec<Client>,
    poll: rustix::fd::OwnedFd,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
}

/// Turns what the scenario finds wrong into the failure of the run.
pub(crate) fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

impl Fleet {
    /// Connects, and creates each one's session; returns when all are answered.
    pub(crate) fn open(addr: SocketAddr, conns: usize) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let run = std::process::id();
        let mut clients = Vec::with_capacity(conns);
        for number in 0..conns {
            let socket = connect(addr)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let session = format!("user-{number:06}-{run:010}");
            clients.push(Client { socket, rest: Vec::new(), out: Vec::new(), session });
        }
        let mut buffer = vec![0; READ];
        for client in &mut clients {
            client.send(r#"{"jsonrpc":"2.0","id":1,"method":"connect","params":{}}"#)?;
        }
        for some in clients.chunks_mut(AT_ONCE) {
            for client in &mut *some {
                client.until_answered(1, &mut buffer)?;
                let session = &client.session;
                client.send(&format!(
                    r#"{{"jsonrpc":"2.0","id":{OPENED},"method":"session.create","params":{{"sessionId":"{session}"}}}}"#
                ))?;
            }
            for client in some {
                client.until_answered(OPENED, &mut buffer)?;
            }
        }
        for (number, client) in clients.iter().enumerate() {
            client.socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(number as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&poll, &client.socket, data, flags)?;
        }
        Ok(Fleet { clients, poll, ready: Vec::with_capacity(1024), buffer })
    }

    /// Waits for at most `limit`, reads what came, shows each frame with its client's number and what goes out to
    /// that client, and writes that.
    pub(crate) fn turn(
        &mut self,
        limit: Duration,
        mut frame: impl FnMut(usize, &[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        self.ready.clear();
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut self.ready), Some(&limit))
        {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.ready {
            let (number, flags) = (event.data.u64() as usize, event.flags);
            let Some(client) = self.clients.get_mut(number) else { continue };
            if flags.contains(epoll::EventFlags::IN) {
                client.read(&mut self.buffer, |body, out| frame(number, body, out))?;
            }
            client.flush()?;
        }
        Ok(())
    }
}

/// Connects; a server that is being started may need a moment.
fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let end = time::now() + PATIENCE;
    loop {
        match TcpStream::connect(addr) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && time::now() < end => {
                std::thread::yield_now();
            }
            done => return done,
        }
    }
}

impl Client {
    /// Writes a frame to the socket, which still blocks.
    fn send(&mut self, body: &str) -> io::Result<()> {
        self.socket.write_all(&wire::frame(body))
    }

    /// Waits for a result, and throws away what is told besides.
    fn until_answered(&mut self, id: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut answered = false;
        while !answered {
            self.read(buffer, |body, _| {
                if answer_to(body) == Some(id) {
                    answered = memmem::find(body, b"\"result\"").is_some();
                    return if answered {
                        Ok(())
                    } else {
                        Err(wrong(String::from_utf8_lossy(body)))
                    };
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads until there is no more, and cuts frames.
    fn read(
        &mut self,
        buffer: &mut [u8],
        mut frame: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let got = match self.socket.read(buffer) {
                Ok(0) => return Err(wrong("the server closed a conn")),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let input = buffer.get(..got).unwrap_or_default();
            let out = &mut self.out;
            if self.rest.is_empty() {
                let left = cut(input, |body| frame(body, out))?;
                self.rest.extend_from_slice(left);
            } else {
                self.rest.extend_from_slice(input);
                let left = cut(&self.rest, |body| frame(body, out))?.len();
                self.rest.drain(..self.rest.len() - left);
            }
            if got < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Writes what the socket takes; the rest goes when it takes more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        match self.socket.write(&self.out) {
            Ok(taken) if taken == self.out.len() => self.out.clear(),
            Ok(taken) => drop(self.out.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Shows the body of each whole frame; returns what is left.
fn cut(mut input: &[u8], mut frame: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<&[u8]> {
    const HEAD: &[u8] = b"Content-Length: ";
    loop {
        let Some(header) =
            memmem::find(input.get(..64.min(input.len())).unwrap_or_default(), b"\r\n\r\n")
        else {
            return Ok(input);
        };
        let digits = input.get(HEAD.len()..header).unwrap_or_default();
        let length = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<usize>().ok());
        let length = length.ok_or_else(|| wrong("a header that is no Content-Length"))?;
        let Some(body) = input.get(header + 4..header + 4 + length) else { return Ok(input) };
        frame(body)?;
        input = input.get(header + 4 + length..).unwrap_or_default();
    }
}

/// The id of an answer; `None` for anything else.
pub(crate) fn answer_to(body: &[u8]) -> Option<u64> {
    let rest = body.strip_prefix(br#"{"jsonrpc":"2.0","id":"#)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    let answers = rest.starts_with(b",\"result\"") || rest.starts_with(b",\"error\"");
    let id = std::str::from_utf8(digits).ok()?.parse().ok()?;
    answers.then_some(id)
}
