//! Routes on the wire.
//!
//! Owns their rendering and the reading of use. Refuses decisions.
use slipway_proto::environment::v1 as pb;

use crate::{
    app::{RouteChange, Touch},
    model::{
        access::Access,
        route::{Route, RouteState},
    },
};

/// One message of a watch.
pub fn change(change: RouteChange) -> pb::WatchRoutesResponse {
    let (kind, route) = match change {
        RouteChange::Put(route) => (pb::WatchKind::Put, Some(render(&route))),
        RouteChange::Delete(host) => (pb::WatchKind::Delete, Some(pb::Route { host, ..pb::Route::default() })),
        RouteChange::Synced => (pb::WatchKind::Synced, None),
    };
    pb::WatchRoutesResponse { kind: kind.into(), route }
}

/// What was used.
pub fn touches(message: pb::TouchRoutesRequest) -> Vec<Touch> {
    let one = |t: pb::RouteTouch| Touch { host: t.host, requests: t.requests, wake: t.wake };
    message.touches.into_iter().map(one).collect()
}

fn render(route: &Route) -> pb::Route {
    let (access, allowed) = match &route.access {
        Access::Public => (pb::RouteAccess::Public, Vec::new()),
        Access::Login => (pb::RouteAccess::SignedIn, Vec::new()),
        Access::AllowList(allowed) => (pb::RouteAccess::AllowList, allowed.clone()),
    };
    let state = match route.state {
        RouteState::Up => pb::RouteState::Up,
        RouteState::Asleep => pb::RouteState::Asleep,
        RouteState::Waking => pb::RouteState::Waking,
        RouteState::None => pb::RouteState::None,
    };
    let upstream = |u: &crate::model::route::Upstream| pb::RouteUpstream {
        path: u.path.clone(),
        exact: u.is_exact,
        h2c: u.is_h2c,
        endpoints: u.endpoints.clone(),
    };
    pb::Route {
        host: route.host.clone(),
        resource: route.resource.clone(),
        uid: route.uid.clone(),
        state: state.into(),
        access: access.into(),
        allowed,
        upstreams: route.upstreams.iter().map(upstream).collect(),
    }
}
