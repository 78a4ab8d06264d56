//! `allow` and `deny` of a listener: names of methods, each of which must exist and be such that it can be allowed, or
//! taken away.

use toml::Spanned;
use toml::de::DeValue;

use crate::config::file::Problems;
use crate::config::reader::Reader;
use crate::config::values;
use crate::rpc::methods::{self, Method, Tells};
use crate::rpc::policy::{self, Callers, Why};

type Methods = Vec<&'static Method>;

/// What is allowed, and what is taken away; what is wrong is in neither.
pub(super) fn read(r: &Reader<'_>, problems: &Problems<'_>) -> (Methods, Methods) {
    let (allow, deny) = (named(r, "allow", problems), named(r, "deny", problems));
    for (at, method) in &deny {
        if !policy::can_be_denied(method.route()) {
            let name = method.name;
            problems.error(at, format!("{name} cannot be denied: no client could connect"));
        }
        if allow.iter().any(|(_, allowed)| allowed.index == method.index) {
            problems.error(at, format!("{} is both in allow and in deny", method.name));
        }
    }
    for (at, method) in &allow {
        may_be_allowed(at, method, problems);
    }
    let methods = |list: Vec<Named>| list.into_iter().map(|(_, method)| method).collect();
    (methods(allow), methods(deny))
}

type Named = (std::ops::Range<usize>, &'static Method);

/// The methods of a list, each once.
fn named(r: &Reader<'_>, key: &'static str, problems: &Problems<'_>) -> Vec<Named> {
    let mut found: Vec<Named> = Vec::new();
    for item in r.items(key) {
        if let Some(method) = method(key, item, problems)
            && !found.iter().any(|(_, known)| known.index == method.index)
        {
            found.push((item.span(), method));
        }
    }
    found
}

fn method(
    key: &str,
    item: &Spanned<DeValue<'_>>,
    problems: &Problems<'_>,
) -> Option<&'static Method> {
    let name = match values::text(item.get_ref(), "the name of a method") {
        Ok(name) => name,
        Err(complaint) => {
            problems.error(&item.span(), format!("{key}: {}", complaint.message));
            return None;
        }
    };
    let method = methods::method(name);
    if method.is_none() {
        let known = methods::methods().iter().map(|method| method.name);
        let message = format!("{key}: {name:?} is no method that fairlead knows");
        problems.suggest(&item.span(), message, values::nearest(name, known));
    }
    method
}

fn may_be_allowed(at: &std::ops::Range<usize>, method: &Method, problems: &Problems<'_>) {
    let name = method.name;
    match policy::by_default(method.route(), Callers::ToldApart) {
        Err(Why::Never(never)) => {
            problems.error(at, format!("{name} can never be allowed: it {}", never.why()));
        }
        Err(Why::Tells(Tells::Account)) => problems.warn(
            at,
            format!("{name} tells every client of this listener of the account that the CLIs are logged in with"),
        ),
        Ok(()) => {
            problems.warn(at, format!("{name} in allow has no effect: it is allowed anyway"));
        }
        Err(Why::Tells(_) | Why::Changes | Why::Taken) => {}
    }
}
