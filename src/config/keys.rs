//! The one list of keys: the reader refuses every other, and `conf/README.md` documents each of these.
//!
//! Knows names only; types, bounds and defaults are in [`super::check`] and [`super::model`].

/// One table of the file and the keys that it may have.
#[derive(Debug)]
pub struct Section {
    /// How a problem names the table, as it is written in the file.
    pub title: &'static str,
    /// The dotted path in front of each key in `conf/README.md`; empty at the top level.
    pub path: &'static str,
    /// The keys.
    pub keys: &'static [&'static str],
}

/// What stands before the first table.
pub const ROOT: Section = Section {
    title: "the top level",
    path: "",
    keys: &[
        "state_dir",
        "runtime",
        "listener",
        "pool",
        "dns",
        "ledger",
        "metrics",
        "drain",
        "limits",
        "log",
    ],
};
/// `[runtime]`
pub const RUNTIME: Section = Section { title: "[runtime]", path: "runtime", keys: &["workers"] };
/// `[[listener]]`
pub const LISTENER: Section = Section {
    title: "[[listener]]",
    path: "listener",
    keys: &[
        "name",
        "bind",
        "protocol",
        "pool",
        "insecure",
        "tcp_keepalive",
        "tls",
        "tcp",
        "proxy_protocol",
        "identity",
        "authentication",
        "trust",
        "session_id_required_pattern",
        "sessions",
        "ephemeral_pattern",
        "unknown_sessions",
        "max_conns",
        "max_conns_per_address",
        "max_conns_per_caller",
        "max_failed_connects",
        "rate",
        "allow",
        "deny",
        "http",
        "route",
    ],
};
/// `[listener.http]`
pub const HTTP: Section = Section {
    title: "[listener.http]",
    path: "listener.http",
    keys: &[
        "trusted",
        "max_head",
        "max_target",
        "max_fields",
        "max_inspected_body",
        "max_body",
        "head_timeout",
        "keep_alive_timeout",
        "max_requests",
        "connect_timeout",
        "first_byte_timeout",
        "body_timeout",
        "idle_timeout",
        "retries",
        "cookie",
    ],
};
/// `[listener.http.cookie]`
pub const COOKIE: Section = Section {
    title: "[listener.http.cookie]",
    path: "listener.http.cookie",
    keys: &["name", "ttl", "secret"],
};
/// `[[listener.route]]`
pub const ROUTE: Section = Section {
    title: "[[listener.route]]",
    path: "listener.route",
    keys: &["host", "path", "pool"],
};
/// `[listener.rate]`
pub const RATE: Section = Section {
    title: "[listener.rate]",
    path: "listener.rate",
    keys: &["requests", "per", "burst"],
};
/// `[listener.tls]`
pub const TLS: Section = Section {
    title: "[listener.tls]",
    path: "listener.tls",
    keys: &[
        "certificate",
        "key",
        "client_ca",
        "client_auth",
        "min_version",
        "alpn",
        "strict_sni",
        "sni",
    ],
};
/// `[[listener.tls.sni]]`
pub const SNI: Section = Section {
    title: "[[listener.tls.sni]]",
    path: "listener.tls.sni",
    keys: &["hosts", "certificate", "key"],
};
/// `[listener.tcp]`
pub const TCP: Section = Section {
    title: "[listener.tcp]",
    path: "listener.tcp",
    keys: &[
        "connect_timeout",
        "connect_retries",
        "idle_timeout",
        "half_close_timeout",
        "max_lifetime",
        "upstream_keepalive",
        "upstream_user_timeout",
        "on_upstream_down",
    ],
};
/// `[listener.proxy_protocol]`
pub const PROXY_PROTOCOL: Section = Section {
    title: "[listener.proxy_protocol]",
    path: "listener.proxy_protocol",
    keys: &["trusted"],
};
/// `[[listener.identity]]`
pub const IDENTITY: Section = Section {
    title: "[[listener.identity]]",
    path: "listener.identity",
    keys: &[
        "source",
        "pattern",
        "tokens",
        "algorithms",
        "key",
        "jwks",
        "issuer",
        "audience",
        "user_claim",
        "tenant_claim",
        "leeway",
        "field",
        "tlv",
        "ranges",
        "name",
        "segment",
        "pointer",
        "yields",
        "trusted",
    ],
};
/// `tokens` of an identity.
pub const TOKENS: Section =
    Section { title: "tokens", path: "listener.identity.tokens", keys: &["file"] };
/// `jwks` of an identity.
pub const JWKS: Section =
    Section { title: "jwks", path: "listener.identity.jwks", keys: &["file"] };
/// One table of `ranges`.
pub const RANGE: Section = Section {
    title: "a range",
    path: "listener.identity.ranges",
    keys: &["cidr", "tenant", "user"],
};
/// `[[pool]]`
pub const POOL: Section = Section {
    title: "[[pool]]",
    path: "pool",
    keys: &[
        "name",
        "upstreams",
        "managed",
        "balance",
        "affinity",
        "balance_factor",
        "storage",
        "create_existing",
        "ephemeral_grace",
        "token",
        "tls",
        "send_proxy",
        "health",
        "outlier",
        "caps",
        "unknown_sessions",
        "grant",
    ],
};
/// `[[pool.grant]]`
pub const GRANT: Section =
    Section { title: "[[pool.grant]]", path: "pool.grant", keys: &["session", "tenants", "users"] };
/// One table of `upstreams`.
pub const UPSTREAM: Section = Section {
    title: "an upstream",
    path: "pool.upstreams",
    keys: &["address", "name", "weight", "max_sessions", "headless"],
};
/// `[pool.managed]`
pub const MANAGED: Section = Section {
    title: "[pool.managed]",
    path: "pool.managed",
    keys: &[
        "command",
        "count",
        "env",
        "home",
        "ready_deadline",
        "stop_timeout",
        "restart_backoff_min",
        "restart_backoff_max",
        "max_sessions",
        "weight",
    ],
};
/// `[pool.tls]`
pub const POOL_TLS: Section = Section {
    title: "[pool.tls]",
    path: "pool.tls",
    keys: &["ca", "server_name", "certificate", "key", "min_version", "alpn"],
};
/// `[pool.health]`
pub const HEALTH: Section = Section {
    title: "[pool.health]",
    path: "pool.health",
    keys: &["probe", "interval", "timeout", "rise", "fall", "dead_after", "path", "host", "expect"],
};
/// `[pool.outlier]`
pub const OUTLIER: Section = Section {
    title: "[pool.outlier]",
    path: "pool.outlier",
    keys: &["failures", "ejection_time", "max_ejection_time", "max_ejected"],
};
/// `[pool.caps]`
pub const CAPS: Section = Section {
    title: "[pool.caps]",
    path: "pool.caps",
    keys: &[
        "max_sessions",
        "max_sessions_per_tenant",
        "max_sessions_per_user",
        "max_turns",
        "max_turns_per_upstream",
        "max_turns_per_tenant",
        "max_turns_per_user",
        "queue_length",
        "queue_timeout",
    ],
};
/// A value that is kept elsewhere.
pub const SECRET: Section = Section { title: "a secret", path: "secret", keys: &["env", "file"] };
/// `[dns]`
pub const DNS: Section = Section {
    title: "[dns]",
    path: "dns",
    keys: &["servers", "timeout", "min_ttl", "max_ttl", "family"],
};
/// `[ledger]`
pub const LEDGER: Section = Section { title: "[ledger]", path: "ledger", keys: &["forget_after"] };
/// `[metrics]`
pub const METRICS: Section = Section { title: "[metrics]", path: "metrics", keys: &["bind"] };
/// `[drain]`
pub const DRAIN: Section =
    Section { title: "[drain]", path: "drain", keys: &["drain_timeout", "shutdown_delay"] };
/// `[limits]`
pub const LIMITS: Section = Section {
    title: "[limits]",
    path: "limits",
    keys: &[
        "max_header_bytes",
        "max_client_frame",
        "max_upstream_frame",
        "max_link_queue",
        "max_client_queue",
        "max_buffered_bytes",
        "max_conns",
        "max_pending",
        "stall_timeout",
        "request_timeout",
        "client_request_timeout",
        "handshake_timeout",
        "lookup_timeout",
        "fleet_timeout",
        "connect_wait",
        "discard_timeout",
        "finish_timeout",
    ],
};
/// `[log]`
pub const LOG: Section =
    Section { title: "[log]", path: "log", keys: &["format", "level", "access"] };

/// What stands in a file of tokens: another file than all of the above.
pub const TOKEN_FILE: Section = Section { title: "a file of tokens", path: "", keys: &["token"] };
/// `[[token]]` in that file.
pub const TOKEN: Section = Section {
    title: "[[token]]",
    path: "token",
    keys: &["sha256", "user", "tenant", "trust", "name"],
};

/// Every section of the configuration file, in the order of the documentation.
pub const ALL: [&Section; 30] = [
    &ROOT,
    &RUNTIME,
    &LISTENER,
    &HTTP,
    &COOKIE,
    &ROUTE,
    &RATE,
    &TLS,
    &SNI,
    &TCP,
    &PROXY_PROTOCOL,
    &IDENTITY,
    &TOKENS,
    &JWKS,
    &RANGE,
    &POOL,
    &UPSTREAM,
    &GRANT,
    &MANAGED,
    &POOL_TLS,
    &HEALTH,
    &OUTLIER,
    &CAPS,
    &SECRET,
    &DNS,
    &LEDGER,
    &METRICS,
    &DRAIN,
    &LIMITS,
    &LOG,
];

/// The other sections that have `key`: where a stray key may belong.
pub(super) fn homes_of(key: &str, stray_in: &Section) -> Vec<&'static str> {
    // A key in another file belongs nowhere in this one.
    let known = ALL.iter().any(|s| s.title == stray_in.title);
    ALL.iter()
        .filter(|s| known && s.title != stray_in.title && s.keys.contains(&key))
        .map(|s| s.title)
        .collect()
}
