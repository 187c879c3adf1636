//! Routes with all that a target can meet, for the fuzz targets.

use portcullis::config::{
    Access, EncodedSlash, FilePosition, KeyAccess, PathPattern, RefusedMethodOverrides, Route, RoutePath,
    Selectors, Template,
};
use portcullis::policy::RouteTable;

/// One route over everything, with a selector and a method override in the query.
pub fn with_selectors() -> RouteTable {
    let path: RoutePath = "/".parse().expect("a path");
    let template = Template::parse("/v1/projects/{environment}", &path).expect("a template");
    let shared = PathPattern::parse("/v1/schemas/**", &path).expect("a pattern");
    let access = Access::Keys(KeyAccess {
        environment: vec![template],
        shared: vec![shared],
        selectors: Selectors { query: vec!["projectId".parse().expect("a name")], headers: Vec::new() },
        method_override: RefusedMethodOverrides { query: vec!["_method".parse().expect("a name")] },
        ..KeyAccess::default()
    });
    let route = Route {
        path,
        upstream: 0,
        access,
        encoded_slash: EncodedSlash::Allow,
        position: FilePosition::default(),
        cors: None,
        body_bytes: None,
    };
    RouteTable::new(&[route]).expect("routes that fit together")
}
