//! The configuration as it is in force: TOML with every default filled in and every secret as `***`.
//!
//! Without secrets, what is dumped can be read again and means the same.

use toml::{Table, Value};

use super::model::{
    Address, Balance, CallerLimits, Caps, Config, Dns, EnvValue, Grant, Health, Http, Identity,
    Jwt, KeySource, Limits, Listener, Managed, Pattern, Pool, PoolTls, Probe, Protocol, Route, Sni,
    Tcp, Tls, Upstream, Upstreams,
};
use super::values::{show_duration, show_size};
use crate::identity::request::{self, Source};
use crate::identity::source_ip::Range;
use crate::identity::{mtls, proxy_tlv};
use crate::time::Duration;

/// The tables of `config`, in the order of the documentation.
pub fn dump(config: &Config) -> Table {
    let drain = &config.drain;
    let mut root = table([
        ("state_dir", text(config.state_dir.display())),
        ("runtime", table([("workers", number(config.runtime.workers))]).into()),
        ("listener", list(&config.listeners, listener)),
        ("pool", list(&config.pools, pool)),
        ("dns", dns(&config.dns)),
        (
            "ledger",
            table([("forget_after", time(config.ledger.forget_after.unwrap_or_default()))]).into(),
        ),
    ]);
    if let Some(metrics) = &config.metrics {
        root.insert("metrics".into(), table([("bind", text(metrics.bind))]).into());
    }
    root.extend(table([
        (
            "drain",
            table([
                ("drain_timeout", time(drain.drain_timeout)),
                ("shutdown_delay", time(drain.shutdown_delay)),
            ])
            .into(),
        ),
        ("limits", limits(&config.limits)),
        (
            "log",
            table([
                ("format", text(config.log.format.word())),
                ("level", text(config.log.level.word())),
                ("access", config.log.access.into()),
            ])
            .into(),
        ),
    ]));
    root
}

fn listener(listener: &Listener) -> Table {
    let mut out = table([
        ("name", text(&listener.name)),
        ("bind", text(listener.bind)),
        ("protocol", text(listener.protocol.word())),
        ("pool", text(&listener.pool)),
        ("insecure", listener.insecure.into()),
        ("tcp_keepalive", time(listener.tcp_keepalive.unwrap_or_default())),
        ("authentication", text(listener.authentication.word())),
        ("trust", text(listener.trust.word())),
    ]);
    if listener.protocol == Protocol::Jsonrpc {
        out.insert("unknown_sessions".into(), text(listener.unknown_sessions.word()));
        out.insert("sessions".into(), text(listener.sessions.word()));
    }
    if let Some(pattern) = &listener.ephemeral_pattern {
        out.insert("ephemeral_pattern".into(), text(pattern.as_str()));
    }
    if let Some(pattern) = &listener.required_id {
        out.insert("session_id_required_pattern".into(), text(pattern.as_str()));
    }
    for (key, methods) in [("allow", &listener.allow), ("deny", &listener.deny)] {
        if !methods.is_empty() {
            out.insert(key.into(), Value::Array(methods.iter().map(|m| text(m.name)).collect()));
        }
    }
    out.extend(callers(&listener.callers));
    out.extend(listener.tls.as_ref().map(|t| ("tls".to_owned(), tls(t))));
    if listener.protocol == Protocol::Tcp {
        out.insert("tcp".into(), tcp(&listener.tcp));
    }
    if let Some(proxies) = &listener.proxy_protocol {
        let trusted = Value::Array(proxies.trusted.iter().map(text).collect());
        out.insert("proxy_protocol".into(), table([("trusted", trusted)]).into());
    }
    if !listener.identity.is_empty() {
        out.insert("identity".into(), list(&listener.identity, identity));
    }
    if listener.protocol == Protocol::Http {
        out.insert("http".into(), http(&listener.http));
    }
    if !listener.routes.is_empty() {
        out.insert("route".into(), list(&listener.routes, route));
    }
    out
}

fn http(http: &Http) -> Value {
    let mut out = table([
        ("max_head", size(http.max_head)),
        ("max_target", size(http.max_target)),
        ("max_fields", number(http.max_fields)),
        ("max_inspected_body", size(http.max_inspected_body)),
        ("max_body", size(http.max_body.unwrap_or(0))),
        ("head_timeout", time(http.head_timeout)),
        ("keep_alive_timeout", time(http.keep_alive_timeout)),
        ("max_requests", http.max_requests.into()),
        ("connect_timeout", time(http.connect_timeout)),
        ("first_byte_timeout", time(http.first_byte_timeout)),
        ("body_timeout", time(http.body_timeout)),
        ("idle_timeout", time(http.idle_timeout)),
        ("retries", http.retries.into()),
    ]);
    if !http.trusted.is_empty() {
        out.insert("trusted".into(), Value::Array(http.trusted.iter().map(text).collect()));
    }
    if let Some(cookie) = &http.cookie {
        let mut shown = table([("name", text(&cookie.name)), ("ttl", time(cookie.ttl))]);
        shown.extend(cookie.secret.as_ref().map(|secret| ("secret".to_owned(), text(secret))));
        out.insert("cookie".into(), shown.into());
    }
    out.into()
}

fn route(route: &Route) -> Table {
    table([("host", text(&route.host)), ("path", text(&route.path)), ("pool", text(&route.pool))])
}

fn callers(limits: &CallerLimits) -> Table {
    let conns = [
        ("max_conns", limits.max_conns),
        ("max_conns_per_address", limits.max_conns_per_address),
        ("max_conns_per_caller", limits.max_conns_per_caller),
    ];
    let conns = conns.into_iter().filter_map(|(key, most)| Some((key.to_owned(), number(most?))));
    let mut out: Table = conns.collect();
    out.insert("max_failed_connects".into(), limits.max_failed_connects.unwrap_or(0).into());
    if let Some(rate) = limits.rate {
        let (requests, burst) = (rate.requests.into(), rate.burst.into());
        let rate = table([("requests", requests), ("per", time(rate.per)), ("burst", burst)]);
        out.insert("rate".into(), rate.into());
    }
    out
}

fn request(rule: &request::Rule) -> Table {
    let mut out = match &rule.source {
        Source::Header(name) => table([("name", text(name))]),
        Source::Cookie(name) | Source::Query(name) => table([("name", text(name))]),
        Source::Path(segment) => table([("segment", number(*segment))]),
        Source::Json(pointer) => table([("pointer", text(pointer))]),
        Source::Basic | Source::Address | Source::Sni => Table::new(),
    };
    if !matches!(rule.source, Source::Address | Source::Sni) {
        out.insert("yields".into(), text(rule.yields.word()));
    }
    if let Some(pattern) = &rule.pattern {
        out.insert("pattern".into(), text(pattern.as_str()));
    }
    if let Some(trusted) = &rule.trusted {
        out.insert("trusted".into(), Value::Array(trusted.iter().map(text).collect()));
    }
    out
}

fn identity(identity: &Identity) -> Table {
    let mut out = table([("source", text(identity.source()))]);
    out.extend(match identity {
        Identity::SessionId(pattern) => table([("pattern", text(pattern.as_str()))]),
        Identity::Token(tokens) => table([("tokens", file(&tokens.path))]),
        Identity::Jwt(jwt) => self::jwt(jwt),
        Identity::Mtls(rule) => self::mtls(rule),
        Identity::ProxyTlv(rule) => self::proxy_tlv(rule),
        Identity::SourceIp(ranges) => table([("ranges", list(ranges.ranges(), range))]),
        Identity::Request(rule) => request(rule),
    });
    out
}

fn jwt(jwt: &Jwt) -> Table {
    let rules = jwt.verifier.rules();
    let algorithms = jwt.algorithms.iter().map(|a| text(a.word())).collect();
    let mut out = table([("algorithms", Value::Array(algorithms))]);
    out.extend(match &jwt.keys {
        KeySource::Key(secret) => table([("key", text(secret))]),
        KeySource::Jwks(path) => table([("jwks", file(path))]),
    });
    out.extend(rules.issuer.as_ref().map(|issuer| ("issuer".to_owned(), text(issuer))));
    if !rules.audience.is_empty() {
        out.insert("audience".into(), Value::Array(rules.audience.iter().map(text).collect()));
    }
    out.insert("user_claim".into(), text(&rules.user_claim));
    out.extend(rules.tenant_claim.as_ref().map(|claim| ("tenant_claim".to_owned(), text(claim))));
    out.insert("leeway".into(), time(rules.leeway));
    out
}

fn mtls(rule: &mtls::Rule) -> Table {
    let field = match rule.field {
        mtls::Field::Cn => "cn",
        mtls::Field::SanDns => "san_dns",
        mtls::Field::SanUri => "san_uri",
        mtls::Field::SanEmail => "san_email",
    };
    shown(("field", text(field)), rule.pattern.as_ref())
}

fn proxy_tlv(rule: &proxy_tlv::Rule) -> Table {
    let tlv = match rule.field {
        proxy_tlv::Field::Custom(number) => i64::from(number).into(),
        proxy_tlv::Field::Authority => text("authority"),
        proxy_tlv::Field::SslCn => text("ssl_cn"),
    };
    shown(("tlv", tlv), rule.pattern.as_ref())
}

fn shown(field: (&str, Value), pattern: Option<&Pattern>) -> Table {
    let mut out = table([field]);
    out.extend(pattern.map(|pattern| ("pattern".to_owned(), text(pattern.as_str()))));
    out
}

fn range(range: &Range) -> Table {
    let mut out = table([("cidr", text(range.cidr))]);
    out.extend(range.tenant.as_ref().map(|tenant| ("tenant".to_owned(), text(tenant))));
    out.extend(range.user.as_ref().map(|user| ("user".to_owned(), text(user))));
    out
}

fn file(path: &std::path::Path) -> Value {
    table([("file", text(path.display()))]).into()
}

fn grant(grant: &Grant) -> Table {
    let mut out = table([("session", text(grant.session.as_str()))]);
    for (key, names) in [("tenants", &grant.tenants), ("users", &grant.users)] {
        if !names.is_empty() {
            out.insert(key.into(), Value::Array(names.iter().map(text).collect()));
        }
    }
    out
}

/// Paths only: what is in the files is nowhere here.
fn tls(tls: &Tls) -> Value {
    let mut out =
        table([("certificate", text(tls.certificate.display())), ("key", text(tls.key.display()))]);
    if let Some(client_ca) = &tls.client_ca {
        out.insert("client_ca".into(), text(client_ca.file.display()));
        out.insert("client_auth".into(), text(client_ca.auth.word()));
    }
    out.insert("min_version".into(), text(tls.min_version.word()));
    out.insert("alpn".into(), Value::Array(tls.alpn.iter().map(text).collect()));
    out.insert("strict_sni".into(), tls.strict_sni.into());
    if !tls.sni.is_empty() {
        out.insert("sni".into(), list(&tls.sni, sni));
    }
    out.into()
}

/// Paths only, likewise.
fn pool_tls(tls: &PoolTls) -> Value {
    let mut out = table([("ca", text(tls.ca.display()))]);
    out.extend(tls.server_name.as_ref().map(|name| ("server_name".to_owned(), text(name))));
    if let Some((certificate, key)) = &tls.own {
        out.insert("certificate".into(), text(certificate.display()));
        out.insert("key".into(), text(key.display()));
    }
    out.insert("min_version".into(), text(tls.min_version.word()));
    out.insert("alpn".into(), Value::Array(tls.alpn.iter().map(text).collect()));
    out.into()
}

fn sni(sni: &Sni) -> Table {
    table([
        ("hosts", Value::Array(sni.hosts.iter().map(text).collect())),
        ("certificate", text(sni.certificate.display())),
        ("key", text(sni.key.display())),
    ])
}

fn tcp(tcp: &Tcp) -> Value {
    let limit = |time: Option<Duration>| self::time(time.unwrap_or_default());
    table([
        ("connect_timeout", time(tcp.connect_timeout)),
        ("connect_retries", tcp.connect_retries.into()),
        ("idle_timeout", limit(tcp.idle_timeout)),
        ("half_close_timeout", limit(tcp.half_close_timeout)),
        ("max_lifetime", limit(tcp.max_lifetime)),
        ("upstream_keepalive", limit(tcp.upstream_keepalive)),
        ("upstream_user_timeout", limit(tcp.upstream_user_timeout)),
        ("on_upstream_down", text(tcp.on_upstream_down.word())),
    ])
    .into()
}

fn pool(pool: &Pool) -> Table {
    let mut out = table([("name", text(&pool.name))]);
    if let Upstreams::Fixed(fixed) = &pool.upstreams {
        out.insert("upstreams".into(), list(fixed, upstream));
    }
    let balance = match pool.balance {
        Balance::RoundRobin => table([("balance", text("round_robin"))]),
        Balance::LeastLoaded => table([("balance", text("least_loaded"))]),
        Balance::Consistent { affinity, factor } => {
            let mut out =
                table([("balance", text("consistent")), ("affinity", text(affinity.word()))]);
            if factor.is_finite() {
                out.insert("balance_factor".into(), factor.into());
            }
            out
        }
    };
    out.extend(balance);
    out.insert("storage".into(), text(pool.storage.word()));
    out.insert("create_existing".into(), text(pool.create_existing.word()));
    out.insert("ephemeral_grace".into(), time(pool.ephemeral_grace));
    if let Some(token) = &pool.token {
        out.insert("token".into(), text(token));
    }
    if let Some(version) = pool.send_proxy {
        out.insert("send_proxy".into(), text(version.word()));
    }
    if let Upstreams::Managed(m) = &pool.upstreams {
        out.insert("managed".into(), managed(m));
    }
    out.extend(pool.tls.as_ref().map(|tls| ("tls".to_owned(), pool_tls(tls))));
    out.insert("health".into(), health(&pool.health));
    if let Some(rule) = &pool.outlier {
        let shown = table([
            ("failures", rule.failures.into()),
            ("ejection_time", time(rule.base)),
            ("max_ejection_time", time(rule.most)),
            ("max_ejected", rule.share.into()),
        ]);
        out.insert("outlier".into(), shown.into());
    }
    out.insert("caps".into(), caps(&pool.caps));
    if !pool.grants.is_empty() {
        out.insert("grant".into(), list(&pool.grants, grant));
    }
    out
}

fn upstream(upstream: &Upstream) -> Table {
    let mut out = table([("address", text(&upstream.address))]);
    if let Address::Socket(_) = upstream.address {
        out.insert("name".into(), text(&upstream.name));
    }
    out.insert("weight".into(), upstream.weight.into());
    out.extend(upstream.max_sessions.map(|n| ("max_sessions".to_owned(), n.into())));
    if upstream.headless {
        out.insert("headless".into(), true.into());
    }
    out
}

fn managed(managed: &Managed) -> Value {
    let command = managed.command.iter().map(|part| Value::from(part.as_str())).collect();
    let mut out = table([
        ("command", Value::Array(command)),
        ("count", managed.count.into()),
        ("home", text(managed.home.word())),
        ("ready_deadline", time(managed.ready_deadline)),
        ("stop_timeout", time(managed.stop_timeout)),
        ("restart_backoff_min", time(managed.restart_backoff_min)),
        ("restart_backoff_max", time(managed.restart_backoff_max)),
        ("weight", managed.weight.into()),
    ]);
    out.extend(managed.max_sessions.map(|n| ("max_sessions".to_owned(), n.into())));
    let env = managed.env.iter().map(|(name, value)| (name.clone(), env_value(value)));
    out.insert("env".into(), Value::Table(env.collect()));
    out.into()
}

fn env_value(value: &EnvValue) -> Value {
    match value {
        EnvValue::Plain(plain) => text(plain),
        EnvValue::Secret(secret) => text(secret),
    }
}

fn health(health: &Health) -> Value {
    let mut out = table([
        ("probe", text(health.probe.word())),
        ("interval", time(health.interval)),
        ("timeout", time(health.timeout)),
        ("rise", health.rise.into()),
        ("fall", health.fall.into()),
        ("dead_after", time(health.dead_after)),
    ]);
    if let Probe::Http(http) = &health.probe {
        out.insert("path".into(), text(&http.path));
        out.extend(http.host.as_ref().map(|host| ("host".to_owned(), text(host))));
        out.insert("expect".into(), Value::Array(http.expect.iter().map(text).collect()));
    }
    out.into()
}

fn dns(dns: &Dns) -> Value {
    let mut out = table([
        ("timeout", time(dns.timeout)),
        ("min_ttl", time(dns.min_ttl)),
        ("max_ttl", time(dns.max_ttl)),
        ("family", text(dns.family.word())),
    ]);
    if !dns.servers.is_empty() {
        out.insert("servers".into(), Value::Array(dns.servers.iter().map(text).collect()));
    }
    out.into()
}

fn caps(caps: &Caps) -> Value {
    let bounds = [
        ("max_sessions", caps.max_sessions),
        ("max_sessions_per_tenant", caps.max_sessions_per_tenant),
        ("max_sessions_per_user", caps.max_sessions_per_user),
        ("max_turns", caps.max_turns),
        ("max_turns_per_upstream", caps.max_turns_per_upstream),
        ("max_turns_per_tenant", caps.max_turns_per_tenant),
        ("max_turns_per_user", caps.max_turns_per_user),
    ];
    let bounds = bounds.into_iter().filter_map(|(key, n)| Some((key.to_owned(), n?.into())));
    let mut out: Table = bounds.collect();
    out.insert("queue_length".into(), number(caps.queue_length));
    out.insert("queue_timeout".into(), time(caps.queue_timeout));
    out.into()
}

fn limits(l: &Limits) -> Value {
    table([
        ("max_header_bytes", size(l.max_header_bytes)),
        ("max_client_frame", size(l.max_client_frame)),
        ("max_upstream_frame", size(l.max_upstream_frame)),
        ("max_link_queue", size(l.max_link_queue)),
        ("max_client_queue", size(l.max_client_queue)),
        ("max_buffered_bytes", size(l.max_buffered_bytes)),
        ("max_conns", number(l.max_conns)),
        ("max_pending", number(l.max_pending)),
        ("stall_timeout", time(l.stall_timeout)),
        ("request_timeout", time(l.request_timeout)),
        ("client_request_timeout", time(l.client_request_timeout)),
        ("handshake_timeout", time(l.handshake_timeout)),
        ("lookup_timeout", time(l.lookup_timeout)),
        ("fleet_timeout", time(l.fleet_timeout)),
        ("connect_wait", time(l.connect_wait)),
        ("discard_timeout", time(l.discard_timeout)),
        ("finish_timeout", time(l.finish_timeout)),
    ])
    .into()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn list<T>(items: &[T], show: impl Fn(&T) -> Table) -> Value {
    Value::Array(items.iter().map(|item| show(item).into()).collect())
}

fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn time(value: Duration) -> Value {
    text(show_duration(value))
}

fn size(bytes: usize) -> Value {
    text(show_size(bytes as u64))
}

/// Counts are bounded far below what a TOML integer holds.
fn number(value: usize) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}
