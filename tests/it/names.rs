//! Who is asked for the addresses of a name, and what the answers are taken for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairlead::testing::{FakeDns, Says};
use fairlead::upstream::source::dns::look::Resolver;
use fairlead::upstream::source::dns::names::Said;

const SECOND: Duration = Duration::from_secs(1);

fn resolver(servers: Vec<SocketAddr>) -> Resolver {
    Resolver { servers, timeout: SECOND, v4: true, v6: true }
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[tokio::test]
async fn both_families_are_asked_for_and_the_shorter_time_counts() {
    let dns = FakeDns::start().await.unwrap();
    let all = ips(&["10.0.0.1", "::1", "10.0.0.2"]);
    dns.says("cli.example.com", Says::Addresses(all, 7));
    let answer = resolver(vec![dns.addr]).look("cli.example.com").await;
    assert_eq!(answer.v4, Some(Said::Addresses(ips(&["10.0.0.1", "10.0.0.2"]))));
    assert_eq!(answer.v6, Some(Said::Addresses(ips(&["::1"]))));
    assert_eq!(answer.ttl, 7 * SECOND);
    let only = Resolver { v6: false, ..resolver(vec![dns.addr]) };
    assert_eq!(only.look("cli.example.com").await.v6, None);
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_did_not_answer() {
    let dns = FakeDns::start().await.unwrap();
    dns.says("empty.example.com", Says::Nothing);
    dns.says("broken.example.com", Says::Failure);
    dns.says("silent.example.com", Says::Silence);
    let resolver = resolver(vec![dns.addr]);
    let said = async |host: &str| resolver.look(host).await.v4.unwrap();
    assert_eq!(said("unknown.example.com").await, Said::NoSuchName);
    assert_eq!(said("empty.example.com").await, Said::Nothing);
    for host in ["broken.example.com", "silent.example.com"] {
        assert!(matches!(said(host).await, Said::Failed(_)), "{host}");
    }
}

#[tokio::test]
async fn a_name_in_the_file_of_hosts_is_not_asked_for() {
    let text = std::fs::read_to_string("/etc/hosts").unwrap();
    let name =
        text.lines().find_map(|line| line.strip_prefix("127.0.0.1")?.split_whitespace().next());
    let Some(name) = name else { panic!("/etc/hosts names nobody at 127.0.0.1") };
    let dns = FakeDns::start().await.unwrap();
    dns.says(name, Says::Addresses(ips(&["10.0.0.1"]), 7));
    let answer = resolver(vec![dns.addr]).look(name).await;
    assert_eq!(answer.v4, Some(Said::Addresses(ips(&["127.0.0.1"]))));
    assert_eq!(dns.asked(name), 0);
}
