//! Who calls, who gets in and who may use what: each mistake with its place, each default.

use std::path::PathBuf;

use super::*;
use crate::caller::{Proof, Trust};
use crate::config::dump::dump;
use crate::identity::token::{hash, to_hex};
use crate::identity::{Evidence, Refused};

pub(super) const JWT: &str = "[[listener.identity]]\nsource = \"jwt\"\nalgorithms = [\"HS256\"]\nkey = { env = \"JWT_KEY\" }\n";
const IP: &str = "[[listener.identity]]\nsource = \"source_ip\"\nranges = [{ cidr = \"10.0.0.0/8\", user = \"x\" }]\n";
const ID: &str = "[[listener.identity]]\nsource = \"session_id\"\npattern = '(?<user>.+)'\n";

/// A file of its own, which is gone at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fairlead-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn tokens(&self) -> String {
        let path = self.0.display();
        format!("[[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{path}\" }}\n")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn token(secret: &str, user: &str) -> String {
    format!("[[token]]\nsha256 = \"{}\"\nuser = \"{user}\"\n", to_hex(&hash(secret)))
}

fn keys() -> File {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"; // RFC 8037, appendix A.2
    File::new(&format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}]}}"#))
}

/// A configuration that says everything that names another file, or has a secret in it.
pub(super) fn with_files() -> String {
    // Kept: who reads the configuration reads them later.
    let (tokens, keys) = (File::new(&token("one", "alice")), keys());
    let text = format!(
        "{LISTENER}{}{JWT}[[listener.identity]]\nsource = \"jwt\"\nalgorithms = [\"EdDSA\"]\njwks = {{ file = \"{}\" }}\n\
         issuer = \"https://id\"\naudience = \"fairlead\"\nuser_claim = \"email\"\ntenant_claim = \"org\"\nleeway = \"5s\"\n{POOL}",
        tokens.tokens(),
        keys.0.display(),
    );
    std::mem::forget((tokens, keys));
    text
}

fn listener(text: &str) -> Listener {
    right(&format!("{LISTENER}{text}{POOL}")).listeners.remove(0)
}

/// The one problem of a good pool (three lines) and listener (four), followed by `rest` from line 8 on.
#[track_caller]
fn in_listener(rest: &str, expected: &str) {
    after_pool(&format!("{LISTENER}{rest}"), expected);
}

#[test]
fn defaults_follow_from_who_can_be_told_apart() {
    let of = |text: &str| {
        let l = listener(text);
        (l.authentication.word(), l.trust, l.unknown_sessions.word())
    };
    assert_eq!(of(""), ("optional", Trust::Backend, "adopt"));
    assert_eq!(of(ID), ("optional", Trust::Backend, "adopt"));
    assert_eq!(of(IP), ("optional", Trust::User, "deny"));
    assert_eq!(of(JWT), ("required", Trust::User, "deny"));
    let file = File::new(&token("one", "alice"));
    assert_eq!(of(&file.tokens()), ("required", Trust::User, "deny"));
    assert_eq!(
        of(&format!("authentication = \"optional\"\ntrust = \"backend\"\n{JWT}")),
        ("optional", Trust::Backend, "deny")
    );
}

#[test]
fn a_listener_says_what_unknown_sessions_are_before_its_pool_does() {
    let of = |listener: &str, pool: &str| {
        let text = format!("{LISTENER}{listener}{ID}{POOL}{pool}");
        right(&text).listeners[0].unknown_sessions.word()
    };
    let said = "unknown_sessions = \"deny\"\n";
    assert_eq!(of("", said), "deny");
    assert_eq!(of("unknown_sessions = \"pattern\"\n", said), "pattern");
}

#[test]
fn a_configured_token_says_who_calls() {
    let file = File::new(&token("one", "alice"));
    let identities = listener(&format!("{}{IP}", file.tokens())).identities();
    let now = std::time::SystemTime::UNIX_EPOCH;
    let ask = |token, peer: &str| {
        let evidence = Evidence { token, peer: peer.parse().ok(), shown: None, request: None };
        identities.claim(&evidence, now).map(|found| found.map(|claim| claim.proof))
    };
    assert_eq!(ask(Some("one"), "::1"), Some(Ok(Proof::Token)));
    assert_eq!(ask(Some("two"), "10.0.0.1"), Some(Err(Refused::Unknown)));
    assert_eq!(ask(None, "10.0.0.1"), Some(Ok(Proof::SourceIp)));
    assert_eq!(ask(None, "::1"), None);
    assert_eq!(ask(Some("a.b.c"), "::1"), Some(Err(Refused::Unknown)));
}

#[test]
fn a_file_is_read_again_and_a_broken_one_leaves_what_was() {
    let file = File::new(&token("one", "alice"));
    let identity = listener(&file.tokens()).identity.remove(0);
    assert_eq!(identity.file(), Some(file.0.as_path()));
    let who = |identity: &Identity| match identity {
        Identity::Token(tokens) => tokens.tokens.find("two").and_then(|claim| claim.user),
        Identity::SessionId(_)
        | Identity::Jwt(_)
        | Identity::Mtls(_)
        | Identity::ProxyTlv(_)
        | Identity::SourceIp(_)
        | Identity::Request(_) => panic!("{identity:?}"),
    };
    std::fs::write(&file.0, "[[token]]\n").unwrap();
    let problems = identity.reread().unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    std::fs::write(&file.0, token("two", "bob")).unwrap();
    assert_eq!(who(&identity), None);
    assert_eq!(who(&identity.reread().unwrap()).as_deref(), Some("bob"));
}

#[test]
fn keys_are_read_again() {
    let file = File::new(&"k".repeat(32));
    let text = format!("key = {{ file = \"{}\" }}", file.0.display());
    let identity = listener(&JWT.replace("key = { env = \"JWT_KEY\" }", &text)).identity.remove(0);
    assert!(identity.reread().is_ok());
    std::fs::write(&file.0, "short").unwrap();
    let problem = identity.reread().unwrap_err().remove(0).to_string();
    assert!(problem.ends_with(": the secret is shorter than 32 bytes: it could be guessed"));
    assert!(problem.starts_with(&file.0.display().to_string()), "{problem}");
}

#[test]
fn what_is_wrong_with_the_file_of_tokens_has_its_place_there() {
    let file = File::new("[[token]]\nusr = \"a\"\n");
    let found = checked(&format!("{POOL}{LISTENER}{}", file.tokens())).unwrap_err();
    let path = file.0.display().to_string();
    let lines: Vec<String> =
        found.iter().map(|p| p.to_string().lines().next().unwrap().replace(&path, "t")).collect();
    assert_eq!(
        lines,
        [
            "t:1:1: \"sha256\" is missing in [[token]]",
            "t:1:1: \"user\" is missing in [[token]]",
            "t:2:1: unknown key \"usr\" in [[token]]; did you mean \"user\"?",
        ]
    );
    in_listener(
        "[[listener.identity]]\nsource = \"token\"\ntokens = { file = \"/dev/null/t\" }\n",
        "10:19: tokens: /dev/null/t: cannot read the file",
    );
    in_listener(
        "[[listener.identity]]\nsource = \"token\"\n",
        "8:1: source = \"token\" needs tokens",
    );
}

#[test]
fn keys_of_another_source_are_refused() {
    in_listener(&format!("{IP}leeway = \"5s\"\n"), "11:10: leeway belongs to source = \"jwt\"");
    in_listener(
        &format!("{JWT}pattern = 'x'\n"),
        "12:11: pattern belongs to source = \"session_id\"",
    );
}

#[test]
fn a_key_that_fits_no_algorithm_is_refused() {
    let jwt = |from: &str, to: &str, expected: &str| in_listener(&JWT.replace(from, to), expected);
    jwt("JWT_KEY", "CLI_TOKEN", "11:7: the secret is shorter than 32 bytes");
    jwt("[\"HS256\"]", "[\"HS256\", \"RS256\"]", "11:7: one key serves one algorithm");
    jwt("[\"HS256\"]", "[]", "10:14: algorithms: is empty");
    jwt("[\"HS256\"]", "[\"none\"]", "10:14: algorithms: \"none\" must be one of \"HS256\"");
    jwt("HS256", "RS256", "11:7: not a public key for RS256 as PEM");
    jwt("key = { env = \"JWT_KEY\" }\n", "", "8:1: source = \"jwt\" needs key");
    jwt("algorithms = [\"HS256\"]\n", "", "8:1: \"algorithms\" is missing");
    let keys = keys();
    let set = format!("jwks = {{ file = \"{}\" }}", keys.0.display());
    jwt("key = { env = \"JWT_KEY\" }", &set, "10:14: algorithms: HS256 needs key");
    let of_set = JWT.replace("key = { env = \"JWT_KEY\" }", &set);
    let of_issuer = format!("{}issuer = \"https://id\"\n", of_set.replace("HS256", "ES256"));
    in_listener(&of_issuer, "11:17: no key in it serves ES256");
    in_listener(&of_set.replace("HS256", "EdDSA"), "8:1: warning: neither issuer nor audience");
    in_listener(&format!("{JWT}{set}\n"), "12:8: an identity has key or jwks, not both");
}

#[test]
fn ranges_say_who_comes_from_where() {
    let ranges = |ranges: &str, expected: &str| {
        in_listener(&IP.replace("[{ cidr = \"10.0.0.0/8\", user = \"x\" }]", ranges), expected);
    };
    ranges("[]", "10:10: ranges is empty");
    ranges("[{ cidr = \"10.0.0.0/8\" }]", "10:11: a range needs tenant, user or both");
    ranges(
        "[{ cidr = \"10.0.0.1/8\", user = \"x\" }]",
        "10:20: cidr: \"10.0.0.1/8\": there are bits set behind the first 8; did you mean \"10.0.0.0/8\"?",
    );
    ranges(
        "[{ cidr = \"10.0.0.0/8\", user = \"x\" }, { cidr = \"::ffff:10.0.0.0/104\", user = \"y\" }]",
        "10:57: the range 10.0.0.0/8 is listed already",
    );
    in_listener(
        "[[listener.identity]]\nsource = \"source_ip\"\n",
        "8:1: source = \"source_ip\" needs ranges",
    );
}

#[test]
fn an_address_that_others_reach_needs_authentication_or_a_word() {
    let open = LISTENER.replace("127.0.0.1", "0.0.0.0");
    assert!(right(&format!("{open}{JWT}{POOL}")).listeners[0].authenticates());
    let required = format!("authentication = \"required\"\n{IP}");
    assert!(right(&format!("{open}{required}{POOL}")).listeners[0].authenticates());
    after_pool(
        &format!("{open}{IP}"),
        "6:8: 0.0.0.0:4320 can be reached from other machines and no",
    );
    let optional = problems(&format!("{POOL}{open}authentication = \"optional\"\n{JWT}"));
    assert!(optional[0].contains("can be reached from other machines and no"), "{optional:?}");
    assert!(optional[1].contains("in the clear"), "{optional:?}");
    after_pool(
        &format!("{open}insecure = true\n"),
        "6:8: warning: 0.0.0.0:4320 can be reached from other machines, and who reaches it need prove nothing",
    );
    after_pool(
        &format!("{open}insecure = true\n{required}"),
        "8:12: warning: insecure = true has no effect",
    );
}

#[test]
fn authentication_that_nobody_can_pass_is_refused() {
    for identity in ["", ID] {
        in_listener(
            &format!("authentication = \"required\"\n{identity}"),
            "8:18: authentication = \"required\", but no [[listener.identity]] proves who calls",
        );
    }
}

#[test]
fn unknown_sessions_fit_who_calls() {
    in_listener(
        "unknown_sessions = \"pattern\"\n",
        "8:20: listener \"sdk\" cannot have unknown_sessions = \"pattern\"",
    );
    in_listener(
        &format!("unknown_sessions = \"adopt\"\n{JWT}"),
        "8:20: warning: listener \"sdk\" adopts unknown sessions: whichever user asks first",
    );
    in_listener(&format!("trust = \"user\"\n{ID}"), "4:1: warning: listener \"sdk\" adopts");
}

#[test]
fn a_grant_lets_somebody_in() {
    let grant =
        |text: &str, expected: &str| in_pool(&format!("{POOL}[[pool.grant]]\n{text}"), expected);
    grant("session = 'a'\n", "8:1: a [[pool.grant]] needs tenants, users or both");
    grant("session = 'a'\nusers = []\n", "8:1: this [[pool.grant]] lets nobody in");
    grant("session = '('\nusers = ['a']\n", "9:11: session: not a regular expression");
    grant("users = ['a']\n", "8:1: \"session\" is missing in [[pool.grant]]");
    grant(
        "session = 'a'\nusers = ['a']\nuser = 'a'\n",
        "11:1: unknown key \"user\" in [[pool.grant]]",
    );
}

#[test]
fn what_a_session_id_must_match_needs_no_groups() {
    let l = listener("session_id_required_pattern = '[a-z]+-\\d+'\n");
    let pattern = l.required_id.unwrap();
    assert!(pattern.named("a-1").is_some() && pattern.named("a-1x").is_none());
    in_listener("session_id_required_pattern = '('\n", "8:31: session_id_required_pattern: not a");
}

#[test]
fn a_dump_names_files_and_hides_keys() {
    let config = right(&with_files());
    let dumped = toml::to_string(&dump(&config)).unwrap();
    assert!(dumped.contains("key = \"***\""), "{dumped}");
    for text in [dumped, format!("{config:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}
