//! One row of the table: bytes, what they mean by the RFC, and why they are in it. Runs nothing.

/// The request that the bytes mean.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) method: String,
    /// In origin form; `*` and an absolute form stand for themselves.
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) body: Vec<u8>,
}

/// How many requests the bytes are, and which.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// None: nothing complete may come out, also nothing from behind it.
    Refused,
    /// None; but what is behind it stands apart, on a stream of its own.
    Alone,
    /// Just this one, and then what is behind it.
    One(Expected),
    /// This one or none.
    Either(Expected),
    /// This one or none, and nothing from behind it: its end is in doubt.
    Last(Expected),
}

/// How the client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// HTTP/1, and an innocent request right behind it.
    Followed,
    /// HTTP/1; the bytes end in the middle, and the client says that nothing more comes.
    Open,
    /// Frames of h2, after the preface and the settings.
    Frames,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) why: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) meaning: Meaning,
    pub(crate) way: Way,
    /// Names that the backend may not see; or `name: word`, where another value may pass.
    pub(crate) lacks: Vec<&'static str>,
    /// Names that the backend must see, if it sees the request.
    pub(crate) keeps: Vec<&'static str>,
    /// Why it passes here though nginx and HAProxy refuse it.
    pub(crate) passes: Option<&'static str>,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        why: &'static str,
        meaning: Meaning,
        bytes: impl Into<Vec<u8>>,
    ) -> Case {
        Case {
            name: name.into(),
            why,
            bytes: bytes.into(),
            meaning,
            way: Way::Followed,
            lacks: Vec::new(),
            keeps: Vec::new(),
            passes: None,
        }
    }

    pub(crate) fn open(mut self) -> Case {
        self.way = Way::Open;
        self
    }

    pub(crate) fn frames(mut self) -> Case {
        self.way = Way::Frames;
        self
    }

    pub(crate) fn lacks(mut self, names: &[&'static str]) -> Case {
        self.lacks.extend(names);
        self
    }

    pub(crate) fn keeps(mut self, names: &[&'static str]) -> Case {
        self.keeps.extend(names);
        self
    }

    pub(crate) fn passes(mut self, reason: &'static str) -> Case {
        self.passes = Some(reason);
        self
    }
}

/// `POST /case` with this body.
pub(crate) fn post(body: impl AsRef<[u8]>) -> Expected {
    expect("POST", "/case", body)
}

/// `GET /case`.
pub(crate) fn get() -> Expected {
    expect("GET", "/case", "")
}

/// A request to the host `edge`.
pub(crate) fn expect(method: &str, target: &str, body: impl AsRef<[u8]>) -> Expected {
    let body = body.as_ref().to_vec();
    Expected { method: method.to_owned(), target: target.to_owned(), host: "edge".to_owned(), body }
}

/// Several byte strings as one.
pub(crate) fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `POST /case` with these field lines, each with its line end, and this behind the head.
pub(crate) fn posting(fields: impl AsRef<[u8]>, behind: impl AsRef<[u8]>) -> Vec<u8> {
    bytes(&[b"POST /case HTTP/1.1\r\nHost: edge\r\n", fields.as_ref(), b"\r\n", behind.as_ref()])
}

/// `GET /case` with these field lines.
pub(crate) fn getting(fields: impl AsRef<[u8]>) -> Vec<u8> {
    bytes(&[b"GET /case HTTP/1.1\r\nHost: edge\r\n", fields.as_ref(), b"\r\n"])
}

/// A name for bytes in a table.
pub(crate) fn named(family: &str, bytes: &[u8]) -> String {
    let few = &bytes[..bytes.len().min(60)];
    format!("{family} \"{}\"", few.escape_ascii())
}
