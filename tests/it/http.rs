//! HTTP listeners: from a file to what upstreams and clients see. The data path has tests of its own beside it.

use std::collections::{BTreeMap, BTreeSet};

use fairlead::drain::{Mode, Tasks};
use fairlead::testing::Gateway;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::apps::{
    Answer, App, Rig, STICKY, answer, field, identity, message, over_tls, rig, send,
};
use super::certificates::{Ca, Folder};
use super::rig::{Metrics, eventually, within};
use super::tell::{line, lines, log};

#[tokio::test]
async fn the_same_user_meets_the_same_upstream_however_it_is_named() {
    use base64::Engine as _;
    let basic = |user: &str| base64::engine::general_purpose::STANDARD.encode(format!("{user}:x"));
    for (source, more) in [
        ("header", "name = \"x-user-id\""),
        ("cookie", "name = \"uid\""),
        ("query", "name = \"u\""),
        ("path", "segment = 2"),
        ("basic", ""),
    ] {
        let rig = rig(&identity(source, more), STICKY).await;
        let mut homes = BTreeMap::new();
        for n in (0..12).chain(0..12).chain(0..12) {
            let user = format!("user-{n}");
            let answer = match source {
                "header" => rig.get("/", &format!("X-User-Id: {user}\r\n")).await,
                "cookie" => rig.get("/", &format!("Cookie: a=1; uid={user}\r\n")).await,
                "query" => rig.get(&format!("/?x=1&u={user}"), "").await,
                "path" => rig.get(&format!("/users/{user}/chat"), "").await,
                _ => rig.get("/", &format!("Authorization: Basic {}\r\n", basic(&user))).await,
            };
            assert_eq!(answer.status, 200, "{source}: {answer:?}");
            let home = homes.entry(n).or_insert_with(|| answer.body.clone());
            assert_eq!(*home, answer.body, "{source} {user}");
        }
        assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), 3, "{source}");
    }
}

#[tokio::test]
async fn the_same_session_in_a_body_meets_the_same_upstream() {
    let json = identity("json", "pointer = \"/params/sessionId\"");
    let rig = rig(&json, &STICKY.replace("user", "session")).await;
    let mut homes = BTreeMap::new();
    for n in (0..12).chain(0..12) {
        for padding in [0, 1000, 200_000] {
            let body = json!({"params": {"sessionId": format!("s-{n}")}, "z": "x".repeat(padding)});
            let answer = rig.post(&body.to_string()).await;
            let home = homes.entry(n).or_insert_with(|| answer.body.clone());
            assert_eq!((answer.status, &answer.body), (200, &*home), "{n} {padding}");
        }
    }
    assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn requests_go_to_the_pool_of_their_host_and_path() {
    let routes =
        "[[listener.route]]\nhost = \"*.example.com\"\npath = \"/v1/\"\npool = \"other\"\n";
    let rig = rig(routes, "").await;
    for inside in ["/v1/x", "/%761/x", "/v1;a=b/x"] {
        assert_eq!(rig.get(inside, "").await.body, "other");
    }
    assert_ne!(rig.get("/v2/x", "").await.body, "other");
    assert_ne!(rig.ask("GET /v1/x HTTP/1.1\r\nHost: example.org\r\n\r\n").await.body, "other");
    for around in ["/v1/../admin", "/v2/%2e%2e/v1/x", "//v1/x", "/v1%2fx", "/v2/..;/v1/", "/;/v1/x"]
    {
        let answer = rig.get(around, "").await;
        assert_eq!(
            (answer.status, &answer.json()["reason"]),
            (400, &json!("bad_request")),
            "{around}"
        );
    }
    // As they came.
    let seen: Vec<_> = rig.apps[3].heads();
    let target = |head: &String| head.split(' ').nth(1).map(str::to_owned);
    let seen: Vec<_> = seen.iter().filter_map(target).collect();
    assert_eq!(seen, ["/v1/x", "/%761/x", "/v1;a=b/x"]);
}

#[tokio::test]
async fn a_body_is_looked_at_as_far_as_its_bound_and_whatever_clients_call_it() {
    log();
    let json = identity("json", "pointer = \"/sessionId\"");
    let bound = format!("{json}[listener.http]\nmax_inspected_body = \"4KiB\"\n");
    let rig = rig(&bound, &STICKY.replace("user", "session")).await;
    let body = |padding: usize| json!({"a": "x".repeat(padding), "sessionId": "s"}).to_string();
    for (number, kind, padding, reason) in [
        (1, "Content-Type: application/json\r\n", 3_000, "sticky"),
        (2, "Content-Type: application/json\r\n", 5_000, "no_user"),
        (3, "Content-Type: application/x-www-form-urlencoded\r\n", 0, "sticky"),
        (4, "", 0, "no_user"),
        (5, "Content-Type: text/plain\r\n", 0, "no_user"),
    ] {
        let (path, body) = (format!("/looked-at/{number}"), body(padding));
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{kind}Content-Length: {length}\r\n");
        // In one piece: how it is cut says nothing.
        assert_eq!(rig.ask(&format!("{head}\r\n{body}")).await.status, 200);
        let mine = line("its end", |l| l["kind"] == "http" && l["path"] == path.as_str()).await;
        assert_eq!(mine["placement_reason"], reason, "{number}");
    }
}

#[tokio::test]
async fn requests_that_fail_say_nothing_of_whether_their_upstream_is_there() {
    let app = App::new("a").await;
    let refuses = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = refuses.local_addr().unwrap();
    // Closes at a POST, before it has answered; all else goes through.
    let (tasks, app_address) = (Tasks::new(), app.address);
    let more = tasks.clone();
    tasks.spawn_aside("refuses", async move {
        while let Ok((mut socket, _)) = refuses.accept().await {
            more.spawn_aside("one", async move {
                let mut first = [0];
                while let Ok(1..) = socket.peek(&mut first).await {
                    let Some((head, _)) = message(&mut socket).await else { return };
                    if first == *b"P" {
                        return;
                    }
                    let mut onward = TcpStream::connect(app_address).await.unwrap();
                    onward.write_all(head.as_bytes()).await.unwrap();
                    let (head, body) = message(&mut onward).await.unwrap();
                    let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
                }
            });
        }
    });
    let toml = format!(
        "[runtime]\nworkers = 2\n[metrics]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [[pool]]\nname = \"app\"\nupstreams = [\"{address}\"]\n\
         [pool.health]\nprobe = \"http\"\npath = \"/health\"\ninterval = \"1h\"\n"
    );
    let rig = Rig { gateway: Gateway::start(&toml).await.unwrap(), apps: vec![app] };
    rig.until("it is up", |m| m.sum("fairlead_upstream_state", &[("state", "up")]) == 1.0).await;
    for _ in 0..10 {
        let answer = rig.post("{}").await;
        assert_eq!((answer.status, &answer.json()["reason"]), (502, &json!("upstream_lost")));
        assert_eq!(rig.get("/", "").await.status, 200);
    }
    let up = |m: &Metrics| m.sum("fairlead_upstream_state", &[("state", "up")]);
    let (_, text) = rig.gateway.get("/metrics").await.unwrap();
    assert_eq!(up(&Metrics(text)), 1.0);
}

#[tokio::test]
async fn a_cookie_of_one_pool_counts_for_no_other() {
    let apps = vec![App::new("a").await, App::new("b").await];
    let both = format!("[\"{}\", \"{}\"]", apps[0].address, apps[1].address);
    let toml = format!(
        "[runtime]\nworkers = 2\n[metrics]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"one\"\n\
         [listener.http.cookie]\nname = \"stick\"\n\
         [[listener.route]]\npath = \"/two/\"\npool = \"two\"\n\
         [[pool]]\nname = \"one\"\nupstreams = {both}\n\
         [[pool]]\nname = \"two\"\nbalance = \"round_robin\"\nupstreams = {both}\n"
    );
    let rig = Rig { gateway: Gateway::start(&toml).await.unwrap(), apps };
    rig.until("all are up", |m| m.sum("fairlead_upstream_state", &[("state", "up")]) == 4.0).await;
    let set = |answer: &Answer| field(&answer.head, "set-cookie");
    let first = set(&rig.get("/", "").await).unwrap();
    let cookie = format!("Cookie: {}\r\n", first.split(';').next().unwrap());
    assert_eq!(set(&rig.get("/", &cookie).await), None, "it holds");
    // Both have an upstream of that name.
    let mut of_two = None;
    for _ in 0..4 {
        of_two = set(&rig.get("/two/", &cookie).await);
        assert!(of_two.is_some());
    }
    let heads: Vec<_> = rig.apps.iter().map(|app| app.heads()).collect();
    let to_two = |heads: &Vec<String>| heads.iter().filter(|h| h.starts_with("GET /two/ ")).count();
    assert_eq!(heads.iter().map(to_two).collect::<Vec<_>>(), [2, 2], "nobody is aimed at");
    // Who uses both keeps its place in both.
    let of_two = of_two.unwrap();
    assert!(of_two.starts_with("stick-two="), "{of_two}");
    let [one, two] = [&first, &of_two].map(|set| set.split(';').next().unwrap());
    let cookies = format!("Cookie: {one}; a=1; {two}\r\n");
    let (mut of_one, mut of_two) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..4 {
        let (one, two) = (rig.get("/", &cookies).await, rig.get("/two/", &cookies).await);
        assert_eq!((set(&one), set(&two)), (None, None));
        of_one.insert(one.body);
        of_two.insert(two.body);
    }
    assert_eq!((of_one.len(), of_two.len()), (1, 1), "{of_one:?} {of_two:?}");
    let seen: Vec<String> = rig.apps.iter().flat_map(|app| app.heads()).collect();
    assert!(seen.iter().all(|head| !head.contains("stick")), "{seen:?}");
}

#[tokio::test]
async fn what_comes_one_after_the_other_is_spread_by_weight() {
    let apps = vec![App::new("a").await, App::new("b").await, App::new("c").await];
    let [a, b, c] = [0, 1, 2].map(|n: usize| apps[n].address);
    let toml = format!(
        "[metrics]\nbind = \"127.0.0.1:0\"\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\n\
         protocol = \"http\"\npool = \"p\"\n\
         [[pool]]\nname = \"p\"\nupstreams = [\"{a}\", {{ address = \"{b}\", weight = 10 }}, \"{c}\"]\n"
    );
    let rig = Rig { gateway: Gateway::start(&toml).await.unwrap(), apps };
    rig.until("all are up", |m| m.sum("fairlead_upstream_state", &[("state", "up")]) == 3.0).await;
    for _ in 0..24 {
        let mut client = TcpStream::connect(rig.address()).await.unwrap();
        send(&mut client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(answer(&mut client).await.status, 200);
        // Closed once the request counts no more: the next one finds nobody busy.
        let mut rest = [0];
        assert_eq!(within("its end", client.read(&mut rest)).await.unwrap(), 0);
    }
    let counts: Vec<usize> = rig.apps.iter().map(|app| app.heads().len()).collect();
    assert_eq!(counts, [2, 20, 2]);
}

#[tokio::test]
async fn a_name_that_only_a_trusted_proxy_may_say_counts_from_nowhere_else() {
    let from =
        |range: &str| identity("header", &format!("name = \"x-user-id\"\ntrusted = [\"{range}\"]"));
    let trusted = rig(&from("127.0.0.0/8"), STICKY).await;
    assert_eq!(trusted.get("/", "X-User-Id: al\r\n").await.status, 200);
    let nobody = trusted.get("/", "").await;
    assert_eq!((nobody.status, &nobody.json()["reason"]), (403, &json!("access_denied")));
    let seen: Vec<_> = trusted.apps.iter().flat_map(App::heads).collect();
    assert_eq!(seen.len(), 1);
    assert_eq!(field(&seen[0], "x-user-id").as_deref(), Some("al"));
    let spoofed =
        rig(&format!("authentication = \"optional\"\n{}", from("192.0.2.0/24")), "").await;
    assert_eq!(spoofed.get("/", "X-User-Id: root\r\n").await.status, 200);
    let seen: Vec<_> = spoofed.apps.iter().flat_map(App::heads).collect();
    assert_eq!(field(&seen[0], "x-user-id"), None, "{seen:?}");
    assert_eq!(spoofed.get("/", "X_User_Id: root\r\n").await.status, 400);
}

#[tokio::test]
async fn who_has_to_present_a_token_is_told_so() {
    log();
    let folder = Folder::new(&Ca::new());
    let hash = fairlead::identity::token::hash("right");
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    folder.put("tokens.toml", &format!("[[token]]\nsha256 = \"{hash}\"\nuser = \"bob\"\n"));
    let tokens = format!("tokens = {{ file = \"{}\" }}", folder.path("tokens.toml"));
    let rate = "max_failed_connects = 3\nrate = { requests = 1, per = \"1h\", burst = 2 }\n";
    let rig = rig(&format!("{rate}{}", identity("token", &tokens)), "").await;
    let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (fields, reason) in
        [(String::new(), "authentication_required"), (with("wrong"), "authentication_failed")]
    {
        let answer = rig.get("/", &fields).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!(reason)));
        let asked = field(&answer.head, "www-authenticate");
        assert_eq!(asked.as_deref(), Some("Bearer realm=\"fairlead\""));
    }
    for status in [200, 200, 429] {
        let answer = rig.get("/", &with("right")).await;
        assert_eq!(answer.status, status);
        if status == 429 {
            let json = answer.json();
            assert_eq!((&json["reason"], &json["retryable"]), (&json!("overloaded"), &json!(true)));
            let wait: u64 = field(&answer.head, "retry-after").unwrap().parse().unwrap();
            assert!((1..=3600).contains(&wait) && json["retry_after"] == wait, "{wait}");
        }
    }
    let seen: Vec<_> = rig.apps.iter().flat_map(App::heads).collect();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|head| field(head, "authorization").is_none()), "it is ours: {seen:?}");
    // Wrong ones are looked at only so often.
    for _ in 0..3 {
        rig.get("/", &with("wrong")).await;
    }
    assert_eq!(rig.get("/", &with("wrong")).await.status, 429);
    let asked =
        |l: &Value| l["kind"] == "audit" && l["listener"] == "web" && l["action"] == "authenticate";
    line("a denial", |l| asked(l) && l["decision"] == "deny").await;
    assert!(lines(|l| l.to_string().contains("Bearer")).is_empty());
}

#[tokio::test]
async fn over_tls_the_client_chooses_which_http_it_speaks() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let cookie = "[listener.http.cookie]\nname = \"stick\"\n";
    let rig = rig(&format!("{}{cookie}", folder.tls()), "").await;
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let mut stream = over_tls(&rig, &ca, protocols, None).await;
        send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = answer(&mut stream).await;
        assert_eq!(answer.status, 200);
        let cookie = field(&answer.head, "set-cookie").unwrap();
        assert!(cookie.starts_with("stick=") && cookie.ends_with("; Secure"), "{cookie}");
    }
    let stream = over_tls(&rig, &ca, &[b"h2", b"http/1.1"], None).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, conn) = h2::client::handshake(stream).await.unwrap();
    Tasks::new().spawn_aside("h2", async move {
        let _ = conn.await;
    });
    let mut send = send.ready().await.unwrap();
    let request = http::Request::get("https://localhost/x").body(()).unwrap();
    let answer = within("an answer", send.send_request(request, true).unwrap().0).await.unwrap();
    assert_eq!(answer.status(), 200);
    let heads: Vec<_> = rig.apps.iter().flat_map(App::heads).collect();
    assert!(heads.iter().all(|head| field(head, "x-forwarded-proto").as_deref() == Some("https")));
    assert!(
        heads.iter().any(|head| head.starts_with("GET /x ")
            && field(head, "host").as_deref() == Some("localhost"))
    );
}

#[tokio::test]
async fn over_tls_only_what_was_agreed_is_spoken() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let rig = rig(&folder.tls(), "").await;
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let mut stream = over_tls(&rig, &ca, protocols, None).await;
        send(&mut stream, preface).await;
        assert_eq!(answer(&mut stream).await.status, 505);
    }
    let mut stream = over_tls(&rig, &ca, &[b"h2"], None).await;
    send(&mut stream, plain).await;
    let mut said = Vec::new();
    // An error: it did not say goodbye.
    let _ = within("it is closed", stream.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{}", said.escape_ascii());
    assert!(rig.apps.iter().all(|app| app.heads().is_empty()));
}

#[tokio::test]
async fn a_client_whose_tls_ends_without_a_word_is_answered_all_the_same() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = rig(&folder.tls(), "").await;
    let mut client = over_tls(&rig, &ca, &[b"http/1.1"], None).await;
    for app in &rig.apps {
        app.answers.send_replace(false);
    }
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let asked =
        || rig.apps.iter().any(|app| app.heads().iter().any(|head| head.starts_with("GET / ")));
    within("an upstream is asked", async {
        while !asked() {
            tokio::task::yield_now().await
        }
    })
    .await;
    // A FIN, and no close_notify.
    socket2::SockRef::from(client.get_ref().0).shutdown(std::net::Shutdown::Write).unwrap();
    for app in &rig.apps {
        app.answers.send_replace(true);
    }
    assert_eq!(answer(&mut client).await.status, 200);
}

#[tokio::test]
async fn each_request_is_counted_and_has_its_line() {
    log();
    let rig = rig(&identity("header", "name = \"x-user-id\""), STICKY).await;
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = format!("X-User-Id: al\r\nTraceparent: {traced}\r\n");
    let name = rig.get("/logged?token=secret", &fields).await.body;
    rig.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    let so = |m: &Metrics| {
        let by = |code| m.sum("fairlead_http_requests_total", &[("code", code)]);
        by("200") == 1.0
            && by("400") == 1.0
            && m.sum("fairlead_http_refused_total", &[("reason", "host")]) == 1.0
            && m.sum("fairlead_http_request_duration_seconds_count", &[]) == 2.0
    };
    rig.until("both are counted", so).await;
    let mine = line("its end", |l| l["kind"] == "http" && l["path"] == "/logged").await;
    for (field, value) in [
        ("listener", json!("web")),
        ("protocol", json!("HTTP/1.1")),
        ("method", json!("GET")),
        ("host", json!("api.example.com")),
        ("status", json!(200)),
        ("pool", json!("app")),
        ("placement_reason", json!("sticky")),
        ("bytes_in", json!(0)),
        ("bytes_out", json!(name.len())),
        ("result", json!("ok")),
        ("termination", json!("--")),
        ("traceparent", json!(traced)),
    ] {
        assert_eq!(mine[field], value, "{field} of {mine}");
    }
    assert!(mine["t_total"].is_number() && mine["t_first_event"].is_number(), "{mine}");
    assert!(lines(|l| l.to_string().contains("token=secret")).is_empty());
    let flawed = line("its flaw", |l| l["kind"] == "http" && l["flaw"] == "host").await;
    assert_eq!((&flawed["status"], &flawed["termination"]), (&json!(400), &json!("FH")));
    assert_eq!(flawed.get("pool"), None);
}

#[tokio::test]
async fn a_drain_waits_for_requests_and_not_for_idle_conns() {
    let rig = rig("", "").await;
    let mut idle = TcpStream::connect(rig.address()).await.unwrap();
    send(&mut idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    answer(&mut idle).await;
    rig.apps.iter().for_each(|app| app.answers.send_modify(|answers| *answers = false));
    let mut busy = TcpStream::connect(rig.address()).await.unwrap();
    send(&mut busy, "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let arrived = || rig.apps.iter().flat_map(App::heads).any(|head| head.starts_with("GET /busy"));
    within("it is on its way", async {
        while !arrived() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig.gateway.leave(Mode::Drain);
    let mut byte = [0];
    assert_eq!(within("the idle one is closed", idle.read(&mut byte)).await.unwrap(), 0);
    assert!(!rig.gateway.has_ended());
    rig.apps.iter().for_each(|app| app.answers.send_modify(|answers| *answers = true));
    let answer = answer(&mut busy).await;
    assert_eq!(answer.status, 200);
    assert_eq!(field(&answer.head, "connection").as_deref(), Some("close"));
    within("it has left", rig.gateway.ended()).await;
}

#[tokio::test]
async fn a_caller_has_so_many_conns_and_no_more() {
    let rig = rig("max_conns_per_caller = 1", "").await;
    let mut one = TcpStream::connect(rig.address()).await.unwrap();
    send(&mut one, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer(&mut one).await.status, 200);
    let mut other = TcpStream::connect(rig.address()).await.unwrap();
    let mut byte = [0];
    let closed = within("it is closed", other.read(&mut byte)).await;
    assert!(closed.is_ok_and(|n| n == 0));
    let so = |m: &Metrics| {
        m.sum("fairlead_listener_rejected_total", &[("reason", "max_conns_per_caller")]) == 1.0
    };
    rig.until("it is counted", so).await;
    drop(one);
    rig.until("it is gone", |m| m.sum("fairlead_listener_connections", &[]) == 0.0).await;
    assert_eq!(rig.get("/", "").await.status, 200);
}

#[tokio::test]
async fn who_comes_through_a_trusted_proxy_is_who_that_says() {
    log();
    let rate = "rate = { requests = 2, per = \"1h\", burst = 2 }\n";
    let trusted = "[listener.http]\ntrusted = [\"127.0.0.1/32\"]\n";
    let by_address = identity("source_ip", "");
    let rig = rig(&format!("{rate}{trusted}{by_address}"), STICKY).await;
    let forwarded = |from: &str| format!("X-Forwarded-For: {from}\r\n");
    let mut met = BTreeSet::new();
    for client in 1..20 {
        let first = rig.get("/proxied", &forwarded(&format!("192.0.2.{client}"))).await;
        // What the client wrote itself stands before what the proxy wrote.
        let next =
            rig.get("/proxied", &forwarded(&format!("198.51.100.7, 192.0.2.{client}"))).await;
        assert_eq!((first.status, next.status), (200, 200));
        assert_eq!(first.body, next.body, "the same client, the same upstream");
        met.insert(first.body);
        let third = rig.get("/", &forwarded(&format!("192.0.2.{client}"))).await;
        assert_eq!(third.status, 429);
    }
    assert_eq!(met.len(), 3, "clients are spread");
    let seen = || lines(|l| l["path"] == "/proxied" && l["client_addr"] == "192.0.2.7").len();
    eventually("both have a line", async || seen() == 2).await;
    // Nobody else is believed.
    for (client, status) in [(1, 200), (2, 200), (3, 429)] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.77.200.1:0".parse().unwrap()).unwrap();
        let mut socket = socket.connect(rig.address()).await.unwrap();
        let fields = forwarded(&format!("203.0.113.{client}"));
        send(&mut socket, &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
        assert_eq!(answer(&mut socket).await.status, status, "{client}");
    }
}

#[tokio::test]
async fn who_says_no_more_while_it_waits_is_answered() {
    let rig = rig("", "[pool.caps]\nmax_sessions = 1\nqueue_timeout = \"20s\"\n").await;
    for app in &rig.apps {
        app.answers.send_replace(false);
    }
    let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut conns = Vec::new();
    for _ in 0..4 {
        let mut conn = TcpStream::connect(rig.address()).await.unwrap();
        send(&mut conn, ask).await;
        conns.push(conn);
    }
    rig.until("three wait", |m| m.sum("fairlead_queue_depth", &[]) == 3.0).await;
    for conn in &conns {
        socket2::SockRef::from(conn).shutdown(std::net::Shutdown::Write).unwrap();
    }
    for app in &rig.apps {
        app.answers.send_replace(true);
    }
    for conn in &mut conns {
        assert_eq!(answer(conn).await.status, 200);
    }
}

#[tokio::test]
async fn who_comes_through_a_balancer_that_does_not_say_is_believed_nothing() {
    let proxied = "authentication = \"optional\"\n\
        [listener.proxy_protocol]\ntrusted = [\"127.0.0.0/8\"]\n\
        [listener.http]\ntrusted = [\"127.0.0.0/8\"]\n";
    let named = identity("header", "name = \"x-user-id\"\ntrusted = [\"127.0.0.0/8\"]");
    let rig = rig(&format!("{proxied}{named}"), "").await;
    let said = "X-User-Id: root\r\nX-Forwarded-For: 192.0.2.1\r\n";
    for (line, believed) in [
        ("PROXY UNKNOWN", false),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 1 2", true),
        ("PROXY TCP4 192.0.2.9 127.0.0.1 1 2", false),
    ] {
        let ask = format!("{line}\r\nGET / HTTP/1.1\r\nHost: a\r\n{said}\r\n");
        assert_eq!(rig.ask(&ask).await.status, 200, "{line}");
        let heads = rig.apps.iter().flat_map(|app| std::mem::take(&mut *app.heads.lock().unwrap()));
        let head: Vec<String> = heads.collect();
        assert_eq!(head.len(), 1);
        assert_eq!(field(&head[0], "x-user-id").is_some(), believed, "{line}: {head:?}");
        let from = field(&head[0], "x-forwarded-for").unwrap();
        assert_eq!(from.starts_with("192.0.2.1,"), believed, "{line}: {from}");
    }
}

#[tokio::test]
async fn who_finds_no_room_waits_and_leaves_the_queue_when_it_goes() {
    let caps = "[pool.caps]\nmax_sessions = 1\nqueue_timeout = \"20s\"\n";
    let rig = rig("", caps).await;
    rig.apps.iter().for_each(|app| app.answers.send_modify(|answers| *answers = false));
    let mut busy = TcpStream::connect(rig.address()).await.unwrap();
    send(&mut busy, "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n").await;
    within("it is on its way", async {
        while rig.apps.iter().flat_map(App::heads).next().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let depth = |wanted: f64| move |m: &Metrics| m.sum("fairlead_queue_depth", &[]) == wanted;
    let mut gone = TcpStream::connect(rig.address()).await.unwrap();
    send(&mut gone, "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await;
    rig.until("it waits", depth(1.0)).await;
    drop(gone);
    rig.until("it does not wait any more", depth(0.0)).await;
    let mut patient = TcpStream::connect(rig.address()).await.unwrap();
    send(&mut patient, "GET /patient HTTP/1.1\r\nHost: a\r\n\r\n").await;
    rig.until("it waits", depth(1.0)).await;
    rig.apps.iter().for_each(|app| app.answers.send_modify(|answers| *answers = true));
    assert_eq!((answer(&mut busy).await.status, answer(&mut patient).await.status), (200, 200));
    assert!(!rig.apps.iter().flat_map(App::heads).any(|head| head.starts_with("GET /gone")));
}
