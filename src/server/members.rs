//! Members of a pool, made from the config: those that stand in it at the start, those that names name whenever they come.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::build::watch_parameters;
use super::{StartError, secrets};
use crate::config::{self, Address, Config, Family, Probe, SendProxy, Upstreams};
use crate::drain::Tasks;
use crate::id::UpstreamId;
use crate::observe::metrics::Metrics;
use crate::probe::visit::{self, Check};
use crate::probe::watch;
use crate::rpc::mux::LinkToken;
use crate::upstream::member::{self, Ears, Member};
use crate::upstream::pool::Pool;
use crate::upstream::source::dns::Following;
use crate::upstream::source::dns::look::Resolver;
use crate::upstream::source::dns::names::{Bounds, Names};
use crate::upstream::tls;
use crate::wire::proxy_protocol::{Told, write_local, write_v1};

/// A member, and what its `watch` listens to.
pub(super) type Made = (Arc<Member>, Ears);

/// Makes the members of one pool.
pub(super) struct Members {
    from: config::Pool,
    watch: watch::Parameters,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    /// The number of the last member of this process.
    last: Arc<AtomicU32>,
    /// How TLS is spoken with them.
    tls: Option<Arc<tls::Client>>,
    /// What a member that is made now presents.
    token: Mutex<Option<LinkToken>>,
}

impl Members {
    pub(super) fn new(
        config: &Config,
        from: &config::Pool,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
        last: &Arc<AtomicU32>,
    ) -> Result<Arc<Self>, StartError> {
        let tls = match &from.tls {
            Some(with) => {
                let failed = |error| StartError::PoolTls(from.name.clone(), error);
                let client = Arc::new(tls::Client::new(with).map_err(failed)?);
                tasks.spawn_aside("certificate", Arc::clone(&client).follow(from.name.clone()));
                Some(client)
            }
            None => None,
        };
        Ok(Arc::new(Members {
            from: from.clone(),
            watch: watch_parameters(config, from),
            metrics: Arc::clone(metrics),
            tasks: tasks.clone(),
            last: Arc::clone(last),
            tls,
            token: Mutex::new(from.token.as_ref().map(secrets::link_token)),
        }))
    }

    pub(super) fn make(&self, with: member::Parameters) -> Made {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let metrics = self.metrics.upstream(&self.from.name, &with.name);
        let (member, ears) = Member::new(UpstreamId(number), with, metrics);
        (Arc::new(member), ears)
    }

    /// Those whose addresses stand in the config.
    pub(super) fn fixed(&self) -> Vec<Made> {
        let known = |upstream: &config::Upstream| match upstream.address {
            Address::Socket(address) => Some(self.at(address, upstream.name.clone(), upstream)),
            Address::Name { .. } => None,
        };
        self.upstreams().iter().filter_map(known).collect()
    }

    fn upstreams(&self) -> &[config::Upstream] {
        match &self.from.upstreams {
            Upstreams::Fixed(upstreams) => upstreams,
            Upstreams::Managed(_) => &[],
        }
    }

    fn at(&self, address: SocketAddr, name: String, like: &config::Upstream) -> Made {
        let made = self.make(member::Parameters {
            name,
            address: Some(address),
            weight: like.weight,
            max_sessions: like.max_sessions,
            max_turns: self.from.caps.max_turns_per_upstream,
            rise: self.from.health.rise,
            fall: self.from.health.fall,
            token: self.token.lock().clone(),
        });
        if let Some(client) = &self.tls {
            let configured = match &like.address {
                Address::Socket(address) => address.ip().to_string(),
                Address::Name { host, .. } => host.clone(),
            };
            let name = client.with().server_name.as_ref().unwrap_or(&configured);
            // The config has no other names.
            if let Some(way) = tls::Way::new(client, name) {
                made.0.set_way(way);
            }
        }
        made
    }

    /// Watches a member for as long as it is one.
    pub(super) fn attend(&self, pool: &Arc<Pool>, (member, ears): Made) {
        let (pool, watched) = (Arc::clone(pool), Arc::clone(&member));
        let check = match &self.from.health.probe {
            Probe::Ping => {
                let task = watch::watch(pool, member, ears, self.watch.clone());
                return self.while_member("watch", &watched, task);
            }
            Probe::Tcp => Check::Tcp,
            Probe::Http(http) => Check::Http(http.clone()),
        };
        pool.expect_no_hello();
        let health = &self.from.health;
        let first = match self.from.send_proxy {
            Some(SendProxy::V1) => write_v1(&Told::default()),
            Some(SendProxy::V2) => write_local(),
            None => Vec::new(),
        };
        let (interval, timeout) = (health.interval, health.timeout);
        let with = visit::Parameters { interval, timeout, check, first };
        self.while_member("visit", &watched, visit::visit(pool, member, ears, with));
    }

    fn while_member(
        &self,
        name: &'static str,
        member: &Arc<Member>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let member = Arc::clone(member);
        self.tasks.spawn_aside(name, async move {
            tokio::select! {
                () = task => {}
                () = member.ended() => {}
            }
        });
    }

    /// Gives all members the token that its file has, whenever that changes.
    pub(super) fn follow_token(self: &Arc<Self>, pool: &Arc<Pool>) {
        let Some(token) = self.from.token.as_ref().filter(|token| token.file().is_some()) else {
            return;
        };
        let (all, of) = (Arc::clone(self), Arc::clone(pool));
        let put = move |token: LinkToken| {
            // First, so that one that comes meanwhile has it too.
            *all.token.lock() = Some(token.clone());
            for member in of.members().iter() {
                member.set_token(Some(token.clone()));
            }
        };
        let follow = secrets::follow(pool.name.clone(), token.clone(), put);
        self.tasks.spawn_aside("secret", follow);
    }

    /// Has those come and go that names name.
    pub(super) fn follow_names(self: &Arc<Self>, pool: &Arc<Pool>, dns: &config::Dns) {
        let named: Vec<(config::Upstream, String, u16)> = self
            .upstreams()
            .iter()
            .filter_map(|upstream| match &upstream.address {
                Address::Name { host, port } => Some((upstream.clone(), host.clone(), *port)),
                Address::Socket(_) => None,
            })
            .collect();
        if named.is_empty() {
            return;
        }
        let ports: Vec<u16> = named.iter().map(|(_, _, port)| *port).collect();
        let bounds = Bounds { min_ttl: dns.min_ttl, max_ttl: dns.max_ttl };
        let names = Names::new(&ports, self.known(), bounds);
        let hosts = named.iter().map(|(_, host, _)| host.clone()).collect();
        let (all, of) = (Arc::clone(self), Arc::clone(pool));
        let join = move |address: SocketAddr, number: usize| {
            let Some((like, _, _)) = named.get(number) else { return };
            let (member, ears) = all.at(address, address.to_string(), like);
            if of.add(&member) {
                all.attend(&of, (member, ears));
            }
        };
        let following = Following::new(Arc::clone(pool), hosts, names, Box::new(join));
        let resolver = Arc::new(Resolver {
            servers: dns.servers.clone(),
            timeout: dns.timeout,
            v4: matches!(dns.family, Family::Any | Family::Ipv4),
            v6: matches!(dns.family, Family::Any | Family::Ipv6),
        });
        for number in 0..ports.len() {
            let resolver = Arc::clone(&resolver);
            let look = move |host: String| {
                let resolver = Arc::clone(&resolver);
                async move { resolver.look(&host).await }
            };
            self.tasks.spawn_aside("names", Arc::clone(&following).follow(number, look));
        }
    }

    /// Addresses that stand in the config.
    fn known(&self) -> BTreeSet<SocketAddr> {
        let address = |upstream: &config::Upstream| match upstream.address {
            Address::Socket(address) => Some(address),
            Address::Name { .. } => None,
        };
        self.upstreams().iter().filter_map(address).collect()
    }
}
