//! Requests as RFC 9112 has them, read so strictly that no two readers can differ on what is accepted: the oracle.
//!
//! Shares no line with the product. Refuses what the RFC lets a recipient repair, because a repair is where readers differ.

/// The longest head that is read.
const HEAD_MAX: usize = 4 << 20;

/// A field line: its name as it came, its value without the white space around it.
pub(crate) type Field = (String, Vec<u8>);

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// Everything before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The digit after `HTTP/1.`.
    pub(crate) minor: u8,
    pub(crate) fields: Vec<Field>,
    pub(crate) framing: Framing,
}

impl Head {
    /// All values of a name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        all(&self.fields, name)
    }

    /// Its only value, as text.
    pub(crate) fn one(&self, name: &str) -> Option<String> {
        match self.all(name)[..] {
            [value] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        }
    }
}

/// All values of a name, in order.
pub(crate) fn all<'a>(fields: &'a [Field], name: &str) -> Vec<&'a [u8]> {
    let named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    named.map(|(_, value)| &value[..]).collect()
}

/// What comes next on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head(Head),
    Body(Vec<u8>),
    /// The request is complete; its trailers.
    End(Vec<Field>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Length(u64),
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers,
}

/// Reads one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    at: At,
    unread: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader { at: At::Head, unread: Vec::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// What was pushed and is not part of anything yet.
    pub(crate) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Whether a request is begun and not complete.
    pub(crate) fn inside(&self) -> bool {
        self.at != At::Head || !self.unread.is_empty()
    }

    /// The next part, if its bytes are here; or why they are no request.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, String> {
        loop {
            match self.at {
                At::Head => return self.head(),
                At::Length(0) => return Ok(Some(self.end(Vec::new()))),
                At::Length(left) => return Ok(self.body(left, At::Length)),
                At::Chunk(0) => self.at = At::ChunkEnd,
                At::Chunk(left) => return Ok(self.body(left, At::Chunk)),
                At::ChunkEnd => match self.line(2)? {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => self.at = At::Size,
                    Some(line) => return Err(format!("{:?} behind a chunk", show(&line))),
                },
                At::Size => match self.line(64)? {
                    None => return Ok(None),
                    Some(line) => match size(&line)? {
                        0 => self.at = At::Trailers,
                        size => self.at = At::Chunk(size),
                    },
                },
                At::Trailers => {
                    let Some(lines) = self.block()? else { return Ok(None) };
                    let fields: Vec<Field> =
                        lines.iter().map(|l| field(l)).collect::<Result<_, _>>()?;
                    for name in
                        ["content-length", "transfer-encoding", "host", "connection", "upgrade"]
                    {
                        if !all(&fields, name).is_empty() {
                            return Err(format!("{name} in the trailers"));
                        }
                    }
                    return Ok(Some(self.end(fields)));
                }
            }
        }
    }

    fn end(&mut self, trailers: Vec<Field>) -> Part {
        self.at = At::Head;
        Part::End(trailers)
    }

    fn body(&mut self, left: u64, at: fn(u64) -> At) -> Option<Part> {
        if self.unread.is_empty() {
            return None;
        }
        let here = self.unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.at = at(left - here as u64);
        Some(Part::Body(self.unread.drain(..here).collect()))
    }

    /// A line without its CRLF. Fails if it has another line end in it, or gets too long.
    fn line(&mut self, longest: usize) -> Result<Option<Vec<u8>>, String> {
        let Some(at) = self.unread.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
            return match self.unread.len() > longest {
                true => Err(format!("no line end: {:?}", show(&self.unread[..longest]))),
                false => Ok(None),
            };
        };
        if self.unread[at] == b'\n' {
            return Err(format!("a bare LF after {:?}", show(&self.unread[..at])));
        }
        match self.unread.get(at + 1) {
            None => Ok(None),
            Some(b'\n') => {
                let line = self.unread.drain(..at + 2).take(at).collect();
                Ok(Some(line))
            }
            Some(_) => Err(format!("a bare CR after {:?}", show(&self.unread[..at]))),
        }
    }

    /// The lines before an empty one, all at once.
    fn block(&mut self) -> Result<Option<Vec<Vec<u8>>>, String> {
        let end = match self.unread.starts_with(b"\r\n") {
            true => Some(0),
            false => self.unread.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 2),
        };
        let Some(end) = end else {
            // So that a wrong line end is not waited for in vain.
            let whole = self.unread.clone();
            while self.line(HEAD_MAX)?.is_some() {}
            self.unread = whole;
            return Ok(None);
        };
        let rest = self.unread.split_off(end);
        let mut lines = Vec::new();
        while let Some(line) = self.line(HEAD_MAX)? {
            lines.push(line);
        }
        self.unread = rest[2..].to_vec();
        Ok(Some(lines))
    }

    fn head(&mut self) -> Result<Option<Part>, String> {
        let Some(lines) = self.block()? else { return Ok(None) };
        let Some((first, rest)) = lines.split_first() else {
            return Err("an empty line before the request".to_owned());
        };
        let (method, target, minor) = request_line(first)?;
        let fields: Vec<Field> = rest.iter().map(|l| field(l)).collect::<Result<_, _>>()?;
        check_host(&fields, minor, &target)?;
        let framing = framing(&fields, minor)?;
        self.at = match framing {
            Framing::Length(length) => At::Length(length),
            Framing::Chunked => At::Size,
        };
        Ok(Some(Part::Head(Head { method, target, minor, fields, framing })))
    }
}

/// Bytes so that they can be read in a message.
pub(crate) fn show(bytes: &[u8]) -> String {
    let few = &bytes[..bytes.len().min(200)];
    let more = if few.len() < bytes.len() { "..." } else { "" };
    format!("{}{more}", few.escape_ascii())
}

fn is_token(bytes: &[u8]) -> bool {
    let other = |b: &u8| b"!#$%&'*+-.^_`|~".contains(b);
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || other(b))
}

fn request_line(line: &[u8]) -> Result<(String, String, u8), String> {
    let wrong = |what: &str| Err(format!("{what}: {:?}", show(line)));
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = words[..] else { return wrong("not three words") };
    if !is_token(method) {
        return wrong("no method");
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return wrong("another version"),
    };
    if target.is_empty() || !target.iter().all(|b| b.is_ascii_graphic() && *b != b'#') {
        return wrong("a byte that no target has");
    }
    let (method, target) = (text(method), text(target));
    let fits = match method.as_str() {
        "CONNECT" => !target.contains('/') && target.contains(':'),
        "OPTIONS" if target == "*" => true,
        _ => {
            target.starts_with('/')
                || target.starts_with("http://")
                || target.starts_with("https://")
        }
    };
    if !fits {
        return wrong("not this method's form of target");
    }
    Ok((method, target, minor))
}

fn text(ascii: &[u8]) -> String {
    String::from_utf8_lossy(ascii).into_owned()
}

fn field(line: &[u8]) -> Result<Field, String> {
    let Some(colon) = line.iter().position(|b| *b == b':') else {
        return Err(format!("no colon: {:?}", show(line)));
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if !is_token(name) {
        return Err(format!("no field name: {:?}", show(line)));
    }
    if let Some(bad) = line.iter().find(|b| b.is_ascii_control() && **b != b'\t') {
        return Err(format!("a byte {bad:#04x} in {:?}", show(line)));
    }
    Ok((text(name), value.to_vec()))
}

fn check_host(fields: &[Field], minor: u8, target: &str) -> Result<(), String> {
    let hosts = all(fields, "host");
    let host = match hosts[..] {
        [] if minor == 0 => return Ok(()),
        [host] => host,
        _ => return Err(format!("{} Hosts", hosts.len())),
    };
    let fine = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%[]:!$&'()*+;=".contains(b);
    if !host.iter().all(fine) {
        return Err(format!("no Host: {:?}", show(host)));
    }
    let absolute = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let authority = absolute.map(|rest| rest.split(['/', '?']).next().unwrap_or(""));
    if authority.is_some_and(|a| a.as_bytes() != host) {
        return Err(format!("a target at {authority:?} with Host {:?}", show(host)));
    }
    Ok(())
}

fn framing(fields: &[Field], minor: u8) -> Result<Framing, String> {
    let (codings, lengths) = (all(fields, "transfer-encoding"), all(fields, "content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [length]) => {
            let digits =
                length.iter().all(u8::is_ascii_digit) && !length.is_empty() && length.len() < 19;
            match text(length).parse() {
                Ok(length) if digits => Ok(Framing::Length(length)),
                _ => Err(format!("no Content-Length: {:?}", show(length))),
            }
        }
        ([coding], []) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        ([_, ..], []) => Err(format!("codings {codings:?} in HTTP/1.{minor}")),
        _ => Err(format!("{} lengths and {} codings", lengths.len(), codings.len())),
    }
}

/// A chunk's size; no extension, no white space.
fn size(line: &[u8]) -> Result<u64, String> {
    let hex = line.iter().all(u8::is_ascii_hexdigit) && line.len() < 16;
    let size = u64::from_str_radix(&text(line), 16).ok().filter(|_| hex);
    size.ok_or_else(|| format!("no chunk size: {:?}", show(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection with these bytes holds: the bodies of its requests, or the fault.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<(String, Vec<u8>, usize)>, String> {
        let (mut reader, mut done, mut open) = (Reader::new(), Vec::new(), None);
        for piece in bytes.chunks(step) {
            reader.push(piece);
            while let Some(part) = reader.next()? {
                match part {
                    Part::Head(head) => open = Some((head.target, Vec::new())),
                    Part::Body(more) => open.as_mut().unwrap().1.extend(more),
                    Part::End(trailers) => {
                        let (target, body) = open.take().unwrap();
                        done.push((target, body, trailers.len()));
                    }
                }
            }
        }
        match reader.inside() {
            true => Err("not complete".to_owned()),
            false => Ok(done),
        }
    }

    const TWO: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\na\r\n0123456789\r\n0\r\nX-T: v\r\n\r\n\
        PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /c HTTP/1.0\r\n\r\n";

    #[test]
    fn requests_are_the_same_however_they_arrive() {
        let expected = vec![
            ("/a".to_owned(), b"hello0123456789".to_vec(), 1),
            ("/b".to_owned(), b"abc".to_vec(), 0),
            ("/c".to_owned(), Vec::new(), 0),
        ];
        for step in 1..=TWO.len() {
            assert_eq!(read(TWO, step), Ok(expected.clone()), "{step} bytes at a time");
        }
    }

    #[test]
    fn what_two_readers_may_read_differently_is_no_request() {
        let wrong = [
            "GET /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\nHost: h\n\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX: a\0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;a\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
            "GET http://other/a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
        ];
        for bytes in wrong {
            let read = read(bytes.as_bytes(), bytes.len());
            assert!(read.is_err_and(|e| e != "not complete"), "{bytes:?}");
        }
    }
}
