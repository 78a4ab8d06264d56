//! Who is kept apart from whom by a configuration, and who is not, in sentences for the person who decides on it.

use crate::caller::{Proof, Trust};
use crate::config::{Config, Grant, Identity, Listener, Protocol, UnknownSessions};
use crate::identity::request::Source;
use crate::rpc::methods::{Method, Route, Tells};
use crate::wire::cidr::Cidr;

/// What each listener keeps apart, whom grants let in, and what no listener can keep apart.
pub(super) fn isolation(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let sentences = match listener.protocol {
            Protocol::Tcp => unread(listener),
            Protocol::Http => of_requests(listener),
            Protocol::Jsonrpc => of_sessions(config, listener),
        };
        let said = move |said| format!("listener {}: {said}", listener.name);
        sentences.into_iter().flatten().map(said)
    });
    let pools = config.pools.iter().flat_map(|pool| {
        let known = config.has_sessions(&pool.name);
        let granted = pool.grants.iter().filter(move |_| known).map(grant);
        let shared = config.has_clis(pool).then(host);
        granted.chain(shared).map(|said| format!("pool {}: {said}", pool.name))
    });
    listeners.chain(pools).collect()
}

/// Where nobody looks at what passes.
fn unread(listener: &Listener) -> Vec<Option<String>> {
    let all = "bytes pass unread: whoever is let in may do all that its upstream allows to whoever connects, and nobody is kept apart";
    vec![Some(all.into()), addresses(listener), certificates(listener), balancers(listener)]
}

/// Where it is known who asks, and not what belongs to whom.
fn of_requests(listener: &Listener) -> Vec<Option<String>> {
    let all = "users and sessions only decide which upstream serves a request: whoever is let in may ask for all that the \
               apps give to whoever asks, and who may see what is theirs to say";
    let mut said = vec![Some(all.into()), Some(let_in(listener))];
    said.extend(listener.identity.iter().map(header));
    said.extend([addresses(listener), certificates(listener), balancers(listener)]);
    said.extend([forwarders(listener), overheard(listener), crowd(listener)]);
    said
}

/// Who may ask at all.
fn let_in(listener: &Listener) -> String {
    let who = match (listener.proves(), listener.authenticates()) {
        (false, _) => return "nobody proves who calls: everybody is let in, and what a request says of its user or session only sorts it".into(),
        (true, true) => "who proves nothing is refused",
        (true, false) => "who proves nothing is let in too",
    };
    format!(
        "{who}; the apps are not told who proved what: only signed tokens, and headers that trusted addresses send, go on to them"
    )
}

/// Headers that are as good as who sends them.
fn header(identity: &Identity) -> Option<String> {
    let Identity::Request(rule) = identity else { return None };
    let (Source::Header(name), Some(trusted), true) = (&rule.source, &rule.trusted, rule.proves())
    else {
        return None;
    };
    Some(format!(
        "whoever connects from {} is believed when {name} says who calls; what others send in it is taken off",
        list(trusted)
    ))
}

/// What proxies say of where a request is from is as good as the way from them.
fn forwarders(listener: &Listener) -> Option<String> {
    let trusted = &listener.http.trusted;
    let proves = listener.identity.iter().any(|identity| identity.proof() == Proof::SourceIp);
    let what = if proves { "who calls" } else { "where clients are" };
    (!trusted.is_empty()).then(|| {
        format!(
            "whoever connects from {} is believed when X-Forwarded-For says {what}",
            list(trusted)
        )
    })
}

fn list(ranges: &[Cidr]) -> String {
    let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    ranges.join(", ")
}

/// Where sessions are known of.
fn of_sessions(config: &Config, listener: &Listener) -> Vec<Option<String>> {
    vec![
        Some(callers(listener)),
        backends(listener),
        anonymous(listener),
        addresses(listener),
        certificates(listener),
        balancers(listener),
        overheard(listener),
        unknown(listener),
        reads(listener, config.tells_apart(&listener.pool)),
        changes(listener),
        denied(listener),
        crowd(listener),
    ]
}

fn callers(listener: &Listener) -> String {
    match (listener.proves(), listener.trust) {
        (false, Trust::Backend) => format!(
            "nobody proves who calls, so every client sees, drives and deletes all sessions of all clients of this listener{}",
            if listener.identity.is_empty() { "" } else { "; ids sort sessions, they prove nothing" },
        ),
        (false, Trust::User) => {
            "nobody proves who calls: a user is whoever says so, by a session id that anybody can write".into()
        }
        (true, Trust::User) => {
            "a caller that proved who it is sees and touches its own sessions alone; for it, those of others do not exist".into()
        }
        (true, Trust::Backend) => {
            "a caller that proved who it is may act for all users of its tenant (without one: of all callers without one), \
             and must keep them apart itself; those of other tenants do not exist for it".into()
        }
    }
}

/// Tokens that say more than the listener does.
fn backends(listener: &Listener) -> Option<String> {
    let count = |identity: &Identity| match identity {
        Identity::Token(file) => {
            file.tokens.entries().iter().filter(|e| e.trust == Some(Trust::Backend)).count()
        }
        Identity::SessionId(_)
        | Identity::Jwt(_)
        | Identity::Mtls(_)
        | Identity::ProxyTlv(_)
        | Identity::SourceIp(_)
        | Identity::Request(_) => 0,
    };
    let n: usize = listener.identity.iter().map(count).sum();
    let acts = if n == 1 { "token lets its client" } else { "tokens let their clients" };
    (n > 0 && listener.trust == Trust::User).then(|| {
        format!(
            "{n} {acts} act for all users of its tenant, which the client must keep apart itself"
        )
    })
}

fn anonymous(listener: &Listener) -> Option<String> {
    let open = listener.proves() && !listener.authenticates();
    open.then(|| {
        "who proves nothing is served too, apart from all who did: such clients see each other's sessions".into()
    })
}

/// Addresses are as good as the network.
fn addresses(listener: &Listener) -> Option<String> {
    let ranges = listener.identity.iter().find_map(|identity| match identity {
        Identity::SourceIp(ranges) => Some(ranges),
        Identity::SessionId(_)
        | Identity::Token(_)
        | Identity::Jwt(_)
        | Identity::Mtls(_)
        | Identity::ProxyTlv(_)
        | Identity::Request(_) => None,
    })?;
    let shared = ranges.ranges().iter().any(|range| range.user.is_none());
    let whole = if shared && listener.protocol == Protocol::Jsonrpc {
        "; where a range names no user, a client acts for its whole tenant"
    } else {
        ""
    };
    let proof = Proof::SourceIp.slug();
    Some(format!(
        "{proof} trusts the network: whoever can send from an address is whom it stands for{whole}"
    ))
}

/// Certificates are as good as who signs them.
fn certificates(listener: &Listener) -> Option<String> {
    let client_ca = &listener.tls.as_ref()?.client_ca.as_ref()?.file;
    listener.identity.iter().any(|i| i.proof() == Proof::Mtls).then(|| {
        format!(
            "mtls trusts whoever signs for {}: a caller is whom a certificate of theirs names that holds when it connects; none is revoked",
            client_ca.display(),
        )
    })
}

/// What balancers say is as good as the way from them.
fn balancers(listener: &Listener) -> Option<String> {
    let trusted = &listener.proxy_protocol.as_ref()?.trusted;
    let believed = listener.identity.iter().map(Identity::proof);
    let believed = believed.filter(|proof| matches!(proof, Proof::ProxyTlv | Proof::SourceIp));
    let what = if believed.count() > 0 { "who calls" } else { "where clients are" };
    Some(format!("whoever connects from {} is believed when it says {what}", list(trusted)))
}

/// Who is on the way of what is said.
fn overheard(listener: &Listener) -> Option<String> {
    let open = listener.tls.is_none() && !listener.bind.ip().is_loopback();
    let tokens = listener.identities().take_tokens();
    let what = match listener.protocol {
        Protocol::Jsonrpc => "prompts and answers",
        Protocol::Http | Protocol::Tcp => "requests and answers",
    };
    let tokens = if tokens { ", and use the tokens" } else { "" };
    open.then(|| {
        format!("TLS is not spoken: who can listen on the network between client and fairlead can read all {what}{tokens}")
    })
}

fn unknown(listener: &Listener) -> Option<String> {
    match listener.unknown_sessions {
        UnknownSessions::Deny => None,
        UnknownSessions::Pattern => {
            Some("a session that fairlead does not know belongs to whom its id names".into())
        }
        UnknownSessions::Adopt => Some(
            "a session that fairlead does not know belongs to the first who asks for it".into(),
        ),
    }
}

/// What the answers of CLIs tell beside sessions.
fn reads(listener: &Listener, told_apart: bool) -> Option<String> {
    if !told_apart {
        let all = "clients may read what the CLIs tell of their account, host and settings";
        return Some(all.into());
    }
    let tells = |method: &&&Method| matches!(method.route(), Route::AnyOne(tells) if tells != Tells::Nothing);
    let names = names(listener.allow.iter().filter(tells))?;
    Some(format!("every client may read {names}: the CLIs' own, and what other callers changed"))
}

fn changes(listener: &Listener) -> Option<String> {
    let changes = |method: &&&Method| method.route() == Route::EveryOne;
    let names = names(listener.allow.iter().filter(changes))?;
    Some(format!("every client may change all CLIs for everybody: {names}"))
}

fn denied(listener: &Listener) -> Option<String> {
    names(listener.deny.iter()).map(|names| format!("nobody may call {names}"))
}

fn names<'a>(methods: impl Iterator<Item = &'a &'static Method>) -> Option<String> {
    let names: Vec<&str> = methods.map(|method| method.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Who can shut the others out where strangers come.
fn crowd(listener: &Listener) -> Option<String> {
    let limits = &listener.callers;
    let per_one = limits.max_conns_per_address.or(limits.max_conns_per_caller).is_some();
    (!listener.bind.ip().is_loopback() && !per_one).then(|| {
        "whoever reaches it can take all connections and shut the others out: see max_conns_per_address and max_conns_per_caller"
            .into()
    })
}

fn grant(grant: &Grant) -> String {
    let users = match grant.users.as_slice() {
        [] => "all users".to_owned(),
        users => users.join(", "),
    };
    let tenants = match grant.tenants.as_slice() {
        [] => "the owner's tenant".to_owned(),
        tenants => tenants.join(", "),
    };
    format!("sessions that match {:?} are shared with {users} of {tenants}", grant.session.as_str())
}

fn host() -> String {
    "users share CLIs, and a CLI runs the tools of all its sessions as one user of its host: they share its files, \
     environment and network; clients that do not trust each other should make their client with mode: \"empty\", \
     which gives a session no tools but those that it asks for"
        .into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{World, parse};

    const POOL: &str = "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:4321\"]\n";

    fn said(listener: &str, pool: &str) -> Vec<String> {
        let world = World { env: &|_| Some("k".repeat(32)), folder: Path::new("/") };
        let text = format!(
            "[[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:4320\"\npool = \"cli\"\n{listener}{POOL}{pool}"
        );
        isolation(&parse("x", &text, &world).unwrap().0)
    }

    fn has(said: &[String], what: &str) -> bool {
        said.iter().any(|line| line.contains(what))
    }

    const JWT: &str = "[[listener.identity]]\nsource = \"jwt\"\nalgorithms = [\"HS256\"]\nkey = { env = \"K\" }\n";
    const IP: &str = "[[listener.identity]]\nsource = \"source_ip\"\nranges = [{ cidr = \"10.0.0.0/8\", tenant = \"a\" }]\n";

    #[test]
    fn without_proof_everybody_is_one() {
        let said = said("", "");
        assert!(has(&said, "every client sees, drives and deletes all sessions"), "{said:?}");
        assert!(has(&said, "belongs to the first who asks"), "{said:?}");
        assert!(has(&said, "pool cli: users share CLIs"), "{said:?}");
        assert!(has(&said, "mode: \"empty\""), "{said:?}");
    }

    #[test]
    fn a_relay_keeps_nobody_apart_whoever_proves_what() {
        for identity in ["", IP] {
            let said = said(&format!("protocol = \"tcp\"\n{identity}"), "");
            assert!(has(&said, "nobody is kept apart"), "{said:?}");
            assert!(!has(&said, "its own sessions") && !has(&said, "sees, drives"), "{said:?}");
            assert!(!has(&said, "first who asks") && !has(&said, "each other's"), "{said:?}");
        }
    }

    const HEADER: &str = "[[listener.identity]]\nsource = \"header\"\nname = \"x-user\"\ntrusted = [\"10.0.0.0/8\"]\n";

    #[test]
    fn a_listener_of_requests_promises_nothing_of_sessions() {
        let json = "[[listener.identity]]\nsource = \"json\"\npointer = \"/id\"\n";
        for (identity, expected) in [
            ("", "everybody is let in"),
            (json, "only sorts it"),
            (JWT, "who proves nothing is refused; the apps are not told"),
            (HEADER, "what others send in it is taken off"),
            (IP, "who proves nothing is let in too"),
        ] {
            let said = said(&format!("protocol = \"http\"\n{identity}"), "");
            assert!(has(&said, expected), "{expected} {said:?}");
            assert!(has(&said, "users and sessions only decide which upstream"), "{said:?}");
            for of_sessions in
                ["its own sessions", "sees, drives", "first who asks", "each other's"]
            {
                assert!(!has(&said, of_sessions), "{of_sessions} {said:?}");
            }
            for of_clis in ["CLI", "whole tenant", "prompts"] {
                assert!(!has(&said, of_clis), "{of_clis} {said:?}");
            }
        }
        let trusted = "[listener.http]\ntrusted = [\"10.0.0.0/8\"]\n";
        let where_from = said(&format!("protocol = \"http\"\n{trusted}"), "");
        assert!(has(&where_from, "X-Forwarded-For says where clients are"), "{where_from:?}");
        let who = said(&format!("protocol = \"http\"\n{trusted}{IP}"), "");
        assert!(has(&who, "X-Forwarded-For says who calls"), "{who:?}");
    }

    #[test]
    fn with_proof_each_has_its_own() {
        let strict = said(JWT, "");
        assert!(has(&strict, "sees and touches its own sessions alone"), "{strict:?}");
        assert!(!has(&strict, "who proves nothing"), "{strict:?}");
        assert!(!has(&strict, "first who asks"), "{strict:?}");
        let open = said(&format!("authentication = \"optional\"\ntrust = \"backend\"\n{JWT}"), "");
        assert!(has(&open, "who proves nothing is served too"), "{open:?}");
        assert!(has(&open, "may act for all users of its tenant"), "{open:?}");
    }

    #[test]
    fn tokens_that_act_for_a_tenant_are_counted() {
        let path = std::env::temp_dir().join(format!("fairlead-{}.toml", uuid::Uuid::new_v4()));
        let entry = |digit: &str, trust: &str| {
            format!(
                "[[token]]\nuser = \"u\"\ntrust = \"{trust}\"\nsha256 = \"{}\"\n",
                digit.repeat(64)
            )
        };
        std::fs::write(&path, entry("a", "backend") + &entry("b", "user")).unwrap();
        let token = format!(
            "[[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{}\" }}\n",
            path.display()
        );
        let (user, backend) =
            (said(&token, ""), said(&format!("trust = \"backend\"\n{token}"), ""));
        std::fs::remove_file(&path).unwrap();
        assert!(has(&user, "1 token lets its client act for all users of its tenant"), "{user:?}");
        assert!(!has(&backend, "1 token lets"), "{backend:?}");
    }

    #[test]
    fn what_may_be_read_and_changed_is_said() {
        let one = said("allow = [\"mcp.config.reload\"]\n", "");
        assert!(has(&one, "may read what the CLIs tell of their account"), "{one:?}");
        assert!(has(&one, "may change all CLIs for everybody: mcp.config.reload"), "{one:?}");
        let strict = said(JWT, "");
        assert!(!has(&strict, "may read") && !has(&strict, "may change"), "{strict:?}");
        let keys = "allow = [\"user.settings.get\"]\ndeny = [\"session.shell.exec\"]\n";
        let some = said(&format!("{keys}{JWT}"), "");
        assert!(has(&some, "every client may read user.settings.get:"), "{some:?}");
        assert!(has(&some, "nobody may call session.shell.exec"), "{some:?}");
    }

    #[test]
    fn who_can_shut_others_out_is_said_where_others_come() {
        let shut_out = |listener: &str, bind: &str| {
            let world = World { env: &|_| Some("k".repeat(32)), folder: Path::new("/") };
            let text = format!(
                "[[listener]]\nname = \"sdk\"\nbind = \"{bind}:4320\"\npool = \"cli\"\n{listener}{JWT}{POOL}"
            );
            has(&isolation(&parse("x", &text, &world).unwrap().0), "shut the others out")
        };
        assert!(shut_out("", "0.0.0.0"));
        assert!(shut_out("max_conns = 5\n", "0.0.0.0"));
        assert!(!shut_out("", "127.0.0.1"));
        assert!(!shut_out("max_conns_per_address = 5\n", "0.0.0.0"));
        assert!(!shut_out("max_conns_per_caller = 5\n", "0.0.0.0"));
    }

    #[test]
    fn what_tls_and_balancers_prove_is_said() {
        let dir = std::env::temp_dir().join(format!("fairlead-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(dir.join("crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key"), made.signing_key.serialize_pem()).unwrap();
        let shown = dir.display();
        let tls = format!(
            "[listener.tls]\ncertificate = \"{shown}/crt\"\nkey = \"{shown}/key\"\nclient_ca = \"{shown}/crt\"\n"
        );
        let proxied = "[listener.proxy_protocol]\ntrusted = [\"10.0.0.0/8\"]\n";
        let mtls = "[[listener.identity]]\nsource = \"mtls\"\nfield = \"cn\"\n";
        let both = said(&format!("{tls}{proxied}{mtls}"), "");
        let only_tls = said(&tls, "");
        let address = said(&format!("{proxied}{IP}"), "");
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(has(&both, &format!("mtls trusts whoever signs for {shown}/crt")), "{both:?}");
        assert!(has(&both, "connects from 10.0.0.0/8 is believed when it says where"), "{both:?}");
        assert!(has(&address, "is believed when it says who calls"), "{address:?}");
        assert!(!has(&only_tls, "mtls") && !has(&only_tls, "believed"), "{only_tls:?}");
    }

    #[test]
    fn what_others_can_overhear_is_said() {
        let open = |listener: &str| {
            let world = World { env: &|_| Some("k".repeat(32)), folder: Path::new("/") };
            let text = format!(
                "[[listener]]\nname = \"sdk\"\nbind = \"0.0.0.0:1\"\npool = \"cli\"\n{listener}{POOL}"
            );
            isolation(&parse("x", &text, &world).unwrap().0)
        };
        assert!(has(&open(JWT), "can read all prompts and answers, and use the tokens"));
        let insecure = open("insecure = true\n");
        assert!(has(&insecure, "TLS is not spoken") && !has(&insecure, "use the tokens"));
        assert!(!has(&said(JWT, ""), "TLS is not spoken"), "nobody listens within a machine");
        let http = open("protocol = \"http\"\ninsecure = true\n");
        assert!(has(&http, "can read all requests and answers"), "{http:?}");
    }

    #[test]
    fn addresses_and_grants_are_said() {
        let said = said(IP, "[[pool.grant]]\nsession = \"team-.*\"\nusers = [\"bob\"]\n");
        assert!(has(&said, "source_ip trusts the network"), "{said:?}");
        assert!(has(&said, "a client acts for its whole tenant"), "{said:?}");
        assert!(has(&said, "\"team-.*\" are shared with bob of the owner's tenant"), "{said:?}");
    }
}
