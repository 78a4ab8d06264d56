//! Which pool a request goes to, by host and path. Pure; the longest match wins.

use std::sync::Arc;

use crate::wire::host::Host;
use crate::wire::target;

/// One way to somewhere.
#[derive(Clone, Debug)]
pub struct Route<P> {
    /// For these hosts.
    pub host: Host,
    /// For these paths: this one, and all below it; as [`target::meaning`] says it.
    pub path: Box<[u8]>,
    /// To there.
    pub to: Arc<P>,
}

impl<P> Route<P> {
    fn covers(&self, path: &[u8]) -> bool {
        let prefix = &*self.path;
        // `/v1` covers `/v1` and `/v1/x`, and not `/v10`.
        path.strip_prefix(prefix)
            .is_some_and(|rest| prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// All routes of a listener.
#[derive(Clone, Debug)]
pub struct Routes<P> {
    routes: Vec<Route<P>>,
    otherwise: Arc<P>,
}

impl<P> Routes<P> {
    /// `otherwise`: where all else goes.
    pub fn new(routes: Vec<Route<P>>, otherwise: Arc<P>) -> Self {
        Routes { routes, otherwise }
    }

    /// Whether the path decides anything: then it must be read in one way only.
    pub fn depend_on_path(&self) -> bool {
        self.routes.iter().any(|route| *route.path != *b"/")
    }

    /// Everywhere that something goes to.
    pub fn all(&self) -> impl Iterator<Item = &Arc<P>> {
        self.routes.iter().map(|route| &route.to).chain([&self.otherwise])
    }

    /// Where a request goes: of the routes whose host fits best, the one with the longest path that covers it.
    /// `host` may have a port, which counts only for a route that names one.
    pub fn find(&self, host: &str, path: &str) -> &Arc<P> {
        if self.routes.is_empty() {
            return &self.otherwise;
        }
        let (name, path) = (without_port(host), target::meaning(path));
        let fit = |route: &Route<P>| {
            let host = route.host.fit(host).or_else(|| route.host.fit(name))?;
            route.covers(&path).then_some((host, route.path.len()))
        };
        let fits = self.routes.iter().filter_map(|route| Some((fit(route)?, route)));
        // Of two that are alike the first: the check refuses such a pair.
        let best = fits.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map_or(&self.otherwise, |(_, route)| &route.to)
    }
}

/// A host without its port, and without the dot that may end a name.
fn without_port(host: &str) -> &str {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = host.get(..end).unwrap_or(host);
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(routes: &[(&str, &str, &str)]) -> Routes<String> {
        let route = |(host, path, pool): &(&str, &str, &str)| Route {
            host: Host::read(host).unwrap(),
            path: path.as_bytes().into(),
            to: Arc::new((*pool).to_owned()),
        };
        Routes::new(routes.iter().map(route).collect(), Arc::new("default".to_owned()))
    }

    #[test]
    fn the_host_that_is_named_best_wins_and_then_the_longest_path() {
        let routes = routes(&[
            ("*", "/", "any"),
            ("*", "/v1/", "any-v1"),
            ("*.example.com", "/", "below"),
            ("*.api.example.com", "/", "further-below"),
            ("api.example.com", "/", "api"),
            ("api.example.com", "/v1/", "v1"),
            ("api.example.com", "/v1/deep", "deep"),
            ("api.example.com:8443", "/v1/", "port"),
        ]);
        for (host, path, pool) in [
            ("api.example.com", "/", "api"),
            ("API.Example.Com:80", "/v1/x", "v1"),
            ("api.example.com", "/v1", "api"),
            ("api.example.com", "/v1/deep", "deep"),
            ("api.example.com", "/v1/deep/er", "deep"),
            ("api.example.com", "/v1/deeper", "v1"),
            ("api.example.com.", "/v1/", "v1"),
            ("api.example.com:8443", "/v1/", "v1"),
            ("x.example.com", "/v1/", "below"),
            ("y.api.example.com", "/", "further-below"),
            ("example.com", "/v1/x", "any-v1"),
            ("xexample.com", "/", "any"),
            (".example.com", "/", "any"),
            ("api.example.com", "/%761/x", "v1"),
            ("api.example.com", "/v1;a=b/deep;c", "deep"),
            ("[::1]:80", "/", "any"),
        ] {
            assert_eq!(**routes.find(host, path), *pool, "{host}{path}");
        }
    }

    #[test]
    fn what_no_route_covers_goes_to_the_default() {
        let some = routes(&[("a", "/x/", "x")]);
        assert_eq!(**some.find("a", "/y"), *"default");
        assert_eq!(**some.find("b", "/x/"), *"default");
        assert_eq!(**routes(&[]).find("a", "/"), *"default");
        assert!(some.depend_on_path());
        assert!(!routes(&[("a", "/", "x")]).depend_on_path());
    }
}
