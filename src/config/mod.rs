//! The configuration: the YAML file, read and validated whole.

mod route;

pub use route::{
    Access, AccessControl, AccountAccess, Cors, EncodedSlash, KeyAccess, MethodOverride, OwnerPattern,
    PathPattern, Place, QueryName, Route, RoutePath, RouteTextError, Selectors, Template, TemplateSegment,
    UpgradePattern,
};
