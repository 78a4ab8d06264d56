//! TLS, PROXY headers, and the identities that need them. The certificates are made here.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::{LISTENER, POOL, after_pool, right};
use crate::config::dump::dump;
use crate::config::model::*;

/// A folder with two certificates and their keys: `a.crt`, `a.key`, `b.crt`, `b.key`.
pub(super) fn files() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = PathBuf::from(concat!(env!("OUT_DIR"), "/certificates"));
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed(vec![format!("{name}.example")]).unwrap();
            std::fs::write(dir.join(format!("{name}.crt")), made.cert.pem()).unwrap();
            let key = made.signing_key.serialize_pem();
            std::fs::write(dir.join(format!("{name}.key")), key).unwrap();
        }
        std::fs::write(dir.join("empty"), "").unwrap();
        dir
    })
}

fn tls(certificate: &str, key: &str, more: &str) -> String {
    let dir = files().display();
    format!("[listener.tls]\ncertificate = \"{dir}/{certificate}\"\nkey = \"{dir}/{key}\"\n{more}")
}

/// The one problem of a listener with these tables, behind a pool; the tables begin at line 8.
fn wrong(tables: &str, expected: &str) {
    let dir = files().display().to_string();
    after_pool(&format!("{LISTENER}{tables}"), &expected.replace("DIR", &dir));
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    wrong(&tls("none", "a.key", ""), "9:15: certificate: cannot read DIR/none: No such file");
    wrong(&tls("a.crt", "none", ""), "10:7: key: cannot read DIR/none: No such file");
    wrong(&tls("empty", "a.key", ""), "9:15: certificate: DIR/empty: there is no certificate");
    wrong(&tls("a.key", "a.key", ""), "9:15: certificate: DIR/a.key: there is no certificate");
    wrong(&tls("a.crt", "a.crt", ""), "10:7: key: DIR/a.crt: there is no unencrypted private key");
    wrong(&tls("a.crt", "b.key", ""), "10:7: key: DIR/b.key: the key does not fit the certificate");
    let ca = format!("client_ca = \"{}/empty\"\n", files().display());
    wrong(&tls("a.crt", "a.key", &ca), "11:13: client_ca: DIR/empty: there is no certificate");
}

#[test]
fn tls_needs_both_files_and_who_signs() {
    wrong("[listener.tls]\ncertificate = \"/x\"\n", "8:1: \"key\" is missing in [listener.tls]");
    let auth = tls("a.crt", "a.key", "client_auth = \"required\"\n");
    wrong(&auth, "11:15: client_auth needs client_ca");
    let old = tls("a.crt", "a.key", "min_version = \"1.1\"\n");
    wrong(&old, "11:15: min_version: \"1.1\" must be one of \"1.2\", \"1.3\"");
}

/// A configuration with the least that TLS with clients' certificates needs.
pub(super) fn least() -> String {
    let ca = format!("client_ca = \"{}/b.crt\"\n", files().display());
    format!("{LISTENER}{}{POOL}", tls("a.crt", "a.key", &ca))
}

/// A listener with every key of TLS, PROXY headers, and the identities that they show; none at its default.
pub(super) fn everything() -> String {
    let dir = files().display().to_string();
    let listener = r#"[listener.tls]
certificate = "DIR/a.crt"
key = "DIR/a.key"
client_ca = "DIR/b.crt"
client_auth = "optional"
min_version = "1.3"
alpn = ["x/1"]
strict_sni = true

[[listener.tls.sni]]
hosts = ["b.example", "*.b.example"]
certificate = "DIR/b.crt"
key = "DIR/b.key"

[listener.proxy_protocol]
trusted = ["10.0.0.0/8", "::1/128"]

[[listener.identity]]
source = "mtls"
field = "san_uri"
pattern = "^spiffe://(?<tenant>[a-z]+)/(?<user>.+)$"

[[listener.identity]]
source = "mtls"
field = "san_email"

[[listener.identity]]
source = "proxy_tlv"
tlv = 228
pattern = "^(?<tenant>[a-z]+)$"

[[listener.identity]]
source = "proxy_tlv"
tlv = "ssl_cn"

"#;
    format!("{LISTENER}{}{POOL}", listener.replace("DIR", &dir))
}

#[test]
fn a_dump_of_tls_is_the_file_again() {
    let dumped = toml::to_string(&dump(&right(&everything()))).unwrap();
    let (tables, _) = dumped.split_once("[[pool]]").unwrap();
    let said = everything();
    let (_, said) = said.split_once("[listener.tls]").unwrap();
    let (said, _) = said.split_once("[[pool]]").unwrap();
    assert!(tables.contains(said), "{dumped}");
    let again = toml::to_string(&dump(&right(&dumped))).unwrap();
    assert_eq!(again, dumped);
}

const SNI: &str = "[[listener.tls.sni]]\n";

#[test]
fn a_certificate_for_a_name_is_right_and_alone() {
    let dir = files().display();
    let sni = |hosts: &str, key: &str| {
        let files = format!("certificate = \"{dir}/b.crt\"\nkey = \"{dir}/{key}\"\n");
        tls("a.crt", "a.key", &format!("{SNI}hosts = {hosts}\n{files}"))
    };
    wrong(&sni("[]", "b.key"), "12:9: hosts: is empty");
    wrong(&sni("[\"b_\", \"b..c\"]", "b.key"), "12:9: hosts: \"b..c\" is not the name of a host");
    for bad in ["*", "*.", "a.*.b", "1.2.3.4", "a b", "a:1"] {
        let expected = format!("12:9: hosts: {bad:?} is not the name of a host");
        wrong(&sni(&format!("[{bad:?}]"), "b.key"), &expected);
    }
    wrong(&sni("[\"b\"]", "a.key"), "14:7: key: DIR/a.key: the key does not fit the certificate");
    let twice = sni("[\"b.example\", \"B.example\"]", "b.key");
    wrong(&twice, "12:9: there is already a certificate for \"b.example\"");
}

#[test]
fn what_is_spoken_within_is_said_by_the_protocol_or_the_file() {
    let alpn = |protocol: &str, more: &str| {
        let listener = LISTENER.replace("\npool", &format!("\nprotocol = \"{protocol}\"\npool"));
        let text = format!("{listener}{}{POOL}", tls("a.crt", "a.key", more));
        right(&text).listeners[0].tls.as_ref().unwrap().alpn.clone()
    };
    assert_eq!(alpn("http", ""), ["h2", "http/1.1"]);
    assert_eq!(alpn("http", "alpn = [\"http/1.1\"]\n"), ["http/1.1"]);
    assert_eq!(alpn("tcp", ""), Vec::<String>::new());
    assert_eq!(alpn("tcp", "alpn = [\"mqtt\"]\n"), ["mqtt"]);
    wrong(&tls("a.crt", "a.key", "alpn = [\"\"]\n"), "11:8: alpn: \"\" is not the name");
    let http = tls("a.crt", "a.key", "alpn = [\"h3\"]\n");
    let listener = format!("{LISTENER}protocol = \"http\"\n{http}");
    after_pool(&listener, "12:8: alpn: \"h3\" is not HTTP");
}

/// The least that TLS to upstreams needs.
pub(super) fn least_to_upstreams() -> String {
    let listener = LISTENER.replace("\npool", "\nprotocol = \"tcp\"\npool");
    format!("{listener}{POOL}[pool.tls]\nca = \"{}/a.crt\"\n", files().display())
}

/// Every key of TLS to upstreams.
pub(super) fn to_upstreams() -> String {
    let listener = LISTENER.replace("\npool", "\nprotocol = \"tcp\"\npool");
    let keys = r#"[pool.tls]
ca = "DIR/a.crt"
server_name = "app.example.com"
certificate = "DIR/b.crt"
key = "DIR/b.key"
min_version = "1.3"
alpn = ["x/1"]
"#;
    format!("{listener}{POOL}{}", keys.replace("DIR", &files().display().to_string()))
}

#[test]
fn a_dump_of_tls_to_upstreams_is_the_file_again() {
    let dumped = toml::to_string(&dump(&right(&to_upstreams()))).unwrap();
    let text = to_upstreams();
    let (_, said) = text.split_once("[pool.tls]").unwrap();
    assert!(dumped.contains(said), "{dumped}");
}

#[test]
fn tls_to_upstreams_names_who_signs_and_is_not_for_clis() {
    let dir = files().display().to_string();
    let tcp = LISTENER.replace("\npool", "\nprotocol = \"tcp\"\npool");
    let bad = |keys: &str, listener: &str, expected: &str| {
        let pool = format!("[pool.tls]\n{}\n{listener}", keys.replace("DIR", &dir));
        after_pool(&pool, &expected.replace("DIR", &dir));
    };
    bad("", &tcp, "4:1: \"ca\" is missing in [pool.tls]");
    bad("ca = \"DIR/empty\"", &tcp, "5:6: ca: DIR/empty: there is no certificate");
    let ca = "ca = \"DIR/a.crt\"\n";
    bad(&format!("{ca}key = \"DIR/b.key\""), &tcp, "4:1: \"certificate\" is missing in [pool.tls]");
    bad(&format!("{ca}server_name = \"a b\""), &tcp, "6:15: server_name: \"a b\" is not the name");
    bad(ca, LISTENER, "4:1: listener \"sdk\" speaks jsonrpc with this pool, and CLIs speak no TLS");
    bad(
        &format!("{ca}insecure_skip_verify = true"),
        &tcp,
        "6:1: unknown key \"insecure_skip_verify\"",
    );
}

#[test]
fn who_can_present_something_must() {
    for (identity, word) in [
        ("source = \"mtls\"\nfield = \"cn\"", "required"),
        ("source = \"proxy_tlv\"\ntlv = \"authority\"", "required"),
        ("source = \"source_ip\"\nranges = [{ cidr = \"::1\", user = \"x\" }]", "optional"),
    ] {
        let ca = format!("client_ca = \"{}/b.crt\"\n", files().display());
        let edge = "[listener.proxy_protocol]\ntrusted = [\"::1\"]\n[[listener.identity]]";
        let text = format!("{LISTENER}{}{edge}\n{identity}\n{POOL}", tls("a.crt", "a.key", &ca));
        assert_eq!(right(&text).listeners[0].authentication.word(), word, "{identity}");
    }
}

#[test]
fn a_token_that_others_could_overhear_is_warned_of() {
    let open = LISTENER.replace("127.0.0.1", "0.0.0.0");
    let token = super::identity::JWT;
    after_pool(
        &format!("{open}{token}"),
        "6:8: warning: 0.0.0.0:4320 can be reached from other machines, and clients send their tokens there in the clear",
    );
    for quiet in [
        format!("{LISTENER}{token}{POOL}"),
        format!("{open}{}{token}{POOL}", tls("a.crt", "a.key", "")),
        format!("{open}insecure = true\n{POOL}").replace("0.0.0.0", "[::1]"),
    ] {
        assert_eq!(super::problems(&quiet), Vec::<String>::new());
    }
}

#[test]
fn no_key_is_in_a_dump() {
    let text = format!("{LISTENER}{}{POOL}", tls("a.crt", "a.key", ""));
    let config = right(&text);
    let shown = format!("{} {config:?}", toml::to_string(&dump(&config)).unwrap());
    assert!(shown.contains("a.key") && !shown.contains("BEGIN"));
    assert_eq!(config.listeners[0].tls.as_ref().unwrap().min_version, MinVersion::V12);
}

#[test]
fn proxies_are_trusted_by_their_range() {
    let table = |trusted: &str| format!("[listener.proxy_protocol]\ntrusted = {trusted}\n");
    wrong(&table("[]"), "9:11: trusted: is empty");
    wrong(&table("\"::1\""), "9:11: trusted: must be a list of ranges");
    wrong(&table("[\"10.0.0.1/8\"]"), "9:11: trusted: \"10.0.0.1/8\": there are bits set behind");
    wrong(&table("[\"lb.example\"]"), "9:11: trusted: \"lb.example\": must be a range");
    wrong(&table("[\"::1\", \"::/0\"]"), "9:11: warning: a range of all addresses is trusted");
    wrong("[listener.proxy_protocol]\n", "8:1: \"trusted\" is missing");
}

#[test]
fn an_identity_needs_what_it_is_shown_by() {
    let identity = |keys: &str| format!("[[listener.identity]]\n{keys}\n");
    wrong(
        &identity("source = \"mtls\"\nfield = \"cn\""),
        "9:10: source = \"mtls\" needs client_ca in [listener.tls]",
    );
    wrong(
        &identity("source = \"proxy_tlv\"\ntlv = 0xE4"),
        "9:10: source = \"proxy_tlv\" needs [listener.proxy_protocol]",
    );
    wrong(
        &identity("source = \"session_id\"\npattern = '(?<user>.+)'\nfield = \"cn\""),
        "11:9: field belongs to source = \"mtls\"",
    );
    wrong(
        "[[listener.identity]]\nsource = \"source_ip\"\nranges = [{ cidr = \"::1\", user = \"x\" }]\npattern = '(?<user>.)'\n",
        "11:11: pattern belongs to source = \"session_id\" or \"mtls\" or \"proxy_tlv\"",
    );
    let behind =
        |keys: &str| format!("[listener.proxy_protocol]\ntrusted = [\"::1\"]\n{}", identity(keys));
    wrong(
        &behind("source = \"proxy_tlv\"\ntlv = 0x20"),
        "12:7: tlv: a custom TLV is from 0xE0 to 0xEF",
    );
    wrong(
        &behind("source = \"proxy_tlv\"\ntlv = \"authorty\""),
        "12:7: tlv: \"authorty\" must be one of \"authority\", \"ssl_cn\"; did you mean \"authority\"?",
    );
    wrong(&behind("source = \"proxy_tlv\""), "10:1: \"tlv\" is missing");
}
