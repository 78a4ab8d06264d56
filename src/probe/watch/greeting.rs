//! What a `watch` says first, and how it reads what the CLI says to that. Never writes or reads a socket.

use crate::error::push_json_string;
use crate::rpc::mux::{Hello, LinkToken};

/// A frame with a request.
pub(super) fn request(method: &str, params: &str, id: u64) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The params of our `connect`.
pub(super) fn who_we_are(token: Option<&LinkToken>) -> String {
    let mut params = String::from("{");
    if let Some(token) = token {
        params.push_str(r#""token":"#);
        push_json_string(&mut params, &token.0);
    }
    params.push('}');
    params
}

/// What a CLI says to our `connect`.
pub(super) enum Greeting {
    /// Who it is.
    Hello(Hello),
    /// It does not take our token.
    Refused,
    /// An older CLI that knows no `connect`.
    Unknown,
}

/// Reads the answer to a `connect`; [`Greeting::Unknown`] where it is another.
pub(super) fn read_hello(frame: &[u8]) -> Greeting {
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
            Greeting::Refused
        }
        _ => Greeting::Unknown,
    }
}
