//! A DNS server that says what it is told to say, and counts who asks. UDP only; no caching, no delegation, no recursion.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// These addresses, for so many seconds; of a family that is not among them: nothing.
    Addresses(Vec<IpAddr>, u32),
    /// The name is there, without an address.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// The server has failed.
    Failure,
    /// Not a word.
    Silence,
}

#[derive(Default)]
struct Zone {
    names: HashMap<String, Says>,
    asked: HashMap<String, usize>,
}

/// A running server. Dropped, it is gone.
pub struct FakeDns {
    /// Where it listens.
    pub addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl FakeDns {
    /// One that knows no name yet.
    ///
    /// # Errors
    /// No port can be bound.
    #[expect(clippy::disallowed_methods, reason = "a double has no drain")]
    pub async fn start() -> std::io::Result<FakeDns> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let (addr, zone) = (socket.local_addr()?, Arc::new(Mutex::new(Zone::default())));
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Ok(FakeDns { addr, zone, task })
    }

    /// From now on this is said of the name.
    pub fn says(&self, name: &str, says: Says) {
        self.zone.lock().names.insert(name.to_owned(), says);
    }

    /// How often its IPv4 addresses were asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.zone.lock().asked.get(name).copied().unwrap_or(0)
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let query = buffer.get(..length).unwrap_or_default();
        let Some(question) = Question::read(query) else { continue };
        let says = {
            let mut zone = zone.lock();
            if question.kind == A {
                *zone.asked.entry(question.name.clone()).or_default() += 1;
            }
            zone.names.get(&question.name).cloned().unwrap_or(Says::NoSuchName)
        };
        if let Some(answer) = question.answer(query, &says) {
            // Who asked may be gone.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The question of a message (RFC 1035, section 4.1.2).
struct Question {
    name: String,
    kind: u16,
    /// Where it ends in the message.
    end: usize,
}

const HEADER: usize = 12;

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let mut at = HEADER;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = message.get(at..at + length)?;
            labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
        Some(Question { name: labels.join("."), kind, end: at + 4 })
    }

    fn answer(&self, query: &[u8], says: &Says) -> Option<Vec<u8>> {
        let (code, addresses, ttl) = match says {
            Says::Addresses(all, ttl) => (0, all.as_slice(), *ttl),
            Says::Nothing => (0, [].as_slice(), 0),
            Says::NoSuchName => (3, [].as_slice(), 0),
            Says::Failure => (2, [].as_slice(), 0),
            Says::Silence => return None,
        };
        let mut records = Vec::new();
        let mut count = 0u16;
        for address in addresses {
            let data = match (address, self.kind) {
                (IpAddr::V4(ip), A) => ip.octets().to_vec(),
                (IpAddr::V6(ip), AAAA) => ip.octets().to_vec(),
                _ => continue,
            };
            count += 1;
            // The name of the question, IN.
            records.extend([0xC0, HEADER as u8]);
            records.extend(self.kind.to_be_bytes());
            records.extend([0, 1]);
            records.extend(ttl.to_be_bytes());
            records.extend((data.len() as u16).to_be_bytes());
            records.extend(data);
        }
        let mut message = query.get(..2)?.to_vec();
        // A response, recursion desired and available.
        message.extend([0x81, 0x80 | code]);
        message.extend([0, 1]);
        message.extend(count.to_be_bytes());
        message.extend([0; 4]);
        message.extend(query.get(HEADER..self.end)?);
        message.extend(records);
        Some(message)
    }
}
