//! Asks for the addresses of a name: the file of hosts first, then DNS. Keeps no answer.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{Hosts, lookup::Lookup};

use super::names::{Answer, Said};
use crate::time::Duration;

/// Tries within one look.
const TRIES: u32 = 3;

/// Whom to ask, and for what.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// None: those of the system.
    pub servers: Vec<SocketAddr>,
    /// For one look.
    pub timeout: Duration,
    /// IPv4 addresses count.
    pub v4: bool,
    /// IPv6 addresses count.
    pub v6: bool,
}

impl Resolver {
    /// Asks for both families at once, for at most `timeout`. What the system says of hosts and servers is read each time.
    pub async fn look(&self, host: &str) -> Answer {
        let Ok(name) = Name::from_utf8(host) else { return self.all(&failed("not a name")) };
        if let Some(answer) = self.in_hosts(&name) {
            return answer;
        }
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => return self.all(&failed(error)),
        };
        let ask = async |wanted: bool, kind: RecordType| {
            if !wanted {
                return (None, None);
            }
            let asking = resolver.lookup(name.clone(), kind);
            let (said, ttl) = match tokio::time::timeout(self.timeout, asking).await {
                Ok(Ok(lookup)) => (addresses(&lookup), ttl(&lookup)),
                Ok(Err(error)) => (refused(&error), None),
                Err(_) => (failed("there was no answer in time"), None),
            };
            (Some(said), ttl)
        };
        let ((v4, ttl4), (v6, ttl6)) =
            tokio::join!(ask(self.v4, RecordType::A), ask(self.v6, RecordType::AAAA));
        let ttl = ttl4.into_iter().chain(ttl6).min().unwrap_or_default();
        Answer { v4, v6, ttl }
    }

    fn all(&self, said: &Said) -> Answer {
        let one = |wanted: bool| wanted.then(|| said.clone());
        Answer { v4: one(self.v4), v6: one(self.v6), ttl: Duration::ZERO }
    }

    /// A name that stands there has no other addresses.
    fn in_hosts(&self, name: &Name) -> Option<Answer> {
        let hosts = Hosts::from_system().ok()?;
        let find = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let (v4, v6) = (find(RecordType::A), find(RecordType::AAAA));
        if v4.is_none() && v6.is_none() {
            return None;
        }
        let said = |wanted: bool, found: Option<Lookup>| {
            wanted.then(|| found.map_or(Said::Nothing, |lookup| addresses(&lookup)))
        };
        // The file is read again as late as may be.
        Some(Answer { v4: said(self.v4, v4), v6: said(self.v6, v6), ttl: Duration::MAX })
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let server = |address: &SocketAddr| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|way| way.port = address.port());
                NameServerConfig::new(address.ip(), true, connections)
            };
            let servers = self.servers.iter().map(server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = self.timeout / TRIES;
        options.attempts = TRIES as usize - 1;
        options.cache_size = 0;
        // An alias holds no longer than its own time.
        options.preserve_intermediates = true;
        builder.build()
    }
}

fn addresses(lookup: &Lookup) -> Said {
    let all: Vec<IpAddr> = lookup.answers().iter().filter_map(|r| r.data.ip_addr()).collect();
    if all.is_empty() { Said::Nothing } else { Said::Addresses(all) }
}

fn ttl(lookup: &Lookup) -> Option<Duration> {
    let seconds = |record: &Record| Duration::from_secs(u64::from(record.ttl));
    lookup.answers().iter().map(seconds).min()
}

fn failed(why: impl ToString) -> Said {
    Said::Failed(why.to_string())
}

fn refused(error: &NetError) -> Said {
    let none =
        if let NetError::Dns(DnsError::NoRecordsFound(none)) = error { Some(none) } else { None };
    let code = none.map(|none| none.response_code);
    if code == Some(ResponseCode::NXDomain) {
        Said::NoSuchName
    } else if code == Some(ResponseCode::NoError) {
        Said::Nothing
    } else {
        failed(error)
    }
}
