//! Finds the route of a path, and its class under that route.

use std::fmt;

use http::Method;

use super::lax_form;
use super::path::PathSpelling;
use super::route_tree::{Node, NodeId, PatternMarks, RouteTree};
use super::{PathRefusal, RequestTarget, RouteProblem};
use crate::config::{Access, EncodedSlash, Route};
use crate::model::EnvironmentId;

/// All routes, in a form that paths are looked up in.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Route>,
    tree: RouteTree,
}

/// Why a path has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// 400: another reading of the path leads elsewhere.
    #[error(transparent)]
    Ambiguous(#[from] PathRefusal),
    /// 404: in no reading of the path.
    #[error("no route has this path")]
    NoRoute,
}

/// A path with its route, and its class under that route.
#[derive(Debug, Clone, Copy)]
pub struct Routed<'t, 'p> {
    /// The route with the longest prefix of the path, or the public route with this very path.
    pub route: &'t Route,
    /// Its index in the configuration.
    pub index: usize,
    /// What the path is under the route.
    pub class: PathClass<'p>,
    /// Whether only owners and admins may write in the environment: its own path, and what `owner_only` lists. Outside
    /// environments it is so for environment keys, where what lies there counts as their environment.
    pub owner_only: bool,
    /// Whether a tunnel opened here only reads.
    pub readonly_upgrade: bool,
    /// What in the configuration made the class. `portcullis explain` prints it.
    pub class_reason: ClassReason<'t>,
    /// The path, as it came.
    pub path: &'p [u8],
}

/// What a path is under its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathClass<'p> {
    /// No key is needed for the route's methods.
    Public,
    /// Every key may read it.
    Shared,
    /// Inside an environment.
    Environment(EnvironmentName<'p>),
    /// Everything else.
    Account,
}

/// What stands where an environment's id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentName<'p> {
    /// A well-formed id; whether there is such an environment is another question.
    Named(&'p str),
    /// Nothing that could be an id in any reading.
    Malformed,
    /// An id and dots: servers that drop dots at the end would see the environment (`e1.` as `e1`). Nobody reaches it, not
    /// even admins.
    Ambiguous,
    /// The path and the selectors, or two selectors, name different environments. Nobody reaches it.
    Contradicted,
}

/// What in the configuration made a path's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassReason<'t> {
    /// The path of a public route.
    PublicPath,
    /// A `shared` pattern.
    Shared(&'t str),
    /// An environment template.
    Template(&'t str),
    /// A selector: its kind (`query parameter`, `header`) and name.
    Selector(&'static str, &'t str),
    /// Nothing.
    Nothing,
}

impl fmt::Display for ClassReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublicPath => f.write_str("it is the path of a public route"),
            Self::Shared(pattern) => write!(f, "'{pattern}' is shared"),
            Self::Template(template) => write!(f, "it lies under the environment template '{template}'"),
            Self::Selector(kind, name) => write!(f, "the {kind} '{name}' chooses the environment"),
            Self::Nothing => f.write_str("outside environments, and not shared"),
        }
    }
}

impl fmt::Display for PathClass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Shared => f.write_str("shared"),
            Self::Environment(EnvironmentName::Named(id)) => write!(f, "environment({id})"),
            Self::Environment(EnvironmentName::Contradicted) => f.write_str("environment(two at once)"),
            Self::Environment(_) => f.write_str("environment(unknown)"),
            Self::Account => f.write_str("account"),
        }
    }
}

// === impl Routed ===

impl Routed<'_, '_> {
    /// Whether the request passes without a key: a public path, with one of its methods.
    pub fn needs_no_key(&self, method: &Method) -> bool {
        match &self.route.access {
            Access::Public { methods } => self.class == PathClass::Public && methods.contains(method),
            Access::Keys(_) => false,
        }
    }
}

// === impl RouteTable ===

impl RouteTable {
    /// Builds the table, or lists all problems of the routes.
    pub fn new(routes: &[Route]) -> Result<Self, Vec<RouteProblem>> {
        Ok(Self { tree: RouteTree::new(routes)?, routes: routes.to_vec() })
    }

    /// The routes, in the order of the configuration.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Finds the route and the class of a path.
    ///
    /// Goes through the path segment by segment as long as a route, template or pattern follows; what stands there
    /// must be written exactly so. A clean path takes no allocation.
    pub fn classify<'t, 'p>(&'t self, target: &RequestTarget<'p>) -> Result<Routed<'t, 'p>, RoutingError> {
        let mut walk = Walk::new(self, target.path);
        let (path, trailing_slash) = match &target.path[1..] {
            [path @ .., b'/'] => (path, true),
            path => (path, false),
        };
        if !path.is_empty() {
            for segment in path.split(|&byte| byte == b'/') {
                if walk.at.is_none() && target.spelling != PathSpelling::EncodedSlash {
                    break; // nothing that follows can change what is known
                }
                walk.step(segment, target.spelling)?;
            }
        }
        walk.end(trailing_slash)
    }
}

/// A walk down the tree, and what it has found so far.
struct Walk<'t, 'p> {
    table: &'t RouteTable,
    path: &'p [u8],
    /// Where it is; none once the path has left what the routes know.
    at: Option<&'t Node>,
    /// The route with the longest prefix so far.
    route: Option<usize>,
    environment: Option<EnvironmentName<'p>>,
    template: Option<&'t str>,
    shared: Option<&'t str>,
    owner_only: bool,
    readonly_upgrade: bool,
}

impl<'t, 'p> Walk<'t, 'p> {
    fn new(table: &'t RouteTable, path: &'p [u8]) -> Self {
        let mut walk = Self {
            table,
            path,
            at: None,
            route: None,
            environment: None,
            template: None,
            shared: None,
            owner_only: false,
            readonly_upgrade: false,
        };
        walk.arrive(RouteTree::ROOT);
        walk
    }

    fn arrive(&mut self, id: NodeId) {
        let node = self.table.tree.node(id);
        self.at = Some(node);
        if node.keyed.is_some() {
            self.route = node.keyed;
            // the outer route's patterns end where a longer prefix begins
            self.shared = None;
            self.owner_only = false;
            self.readonly_upgrade = false;
        }
        if let Some(template) = &node.template {
            self.template = Some(template);
        }
    }

    /// What `marks` grant or take away holds from here on.
    fn collect(&mut self, marks: &'t PatternMarks) {
        self.shared = self.shared.or(marks.shared.as_deref());
        self.owner_only |= marks.owner_only;
        self.readonly_upgrade |= marks.readonly_upgrade;
    }

    /// Takes one segment, which is not an empty last one.
    fn step(&mut self, segment: &'p [u8], spelling: PathSpelling) -> Result<(), PathRefusal> {
        let first = match spelling {
            PathSpelling::EncodedSlash => {
                lax_form::split_at_encoded_slashes(segment).next().unwrap_or_default()
            }
            PathSpelling::Clean | PathSpelling::Unusual => segment,
        };
        let is_divided = first.len() < segment.len();
        if is_divided && !self.allows_encoded_slash() {
            return Err(PathRefusal::EncodedSlash);
        }
        let Some(node) = self.at else { return Ok(()) };

        let edge = if spelling == PathSpelling::Clean || lax_form::is_plain(first) {
            node.edge(first)
        } else {
            let form = lax_form::of_segment(first, node.longest)?;
            if form.is_empty() {
                return Err(PathRefusal::VanishingSegment);
            }
            node.edge(&form)
        };
        self.collect(&node.beneath);
        match (edge, node.environment) {
            (Some(edge), _) if *edge.literal == *segment => self.arrive(edge.to),
            (Some(_), _) => return Err(PathRefusal::LiteralVariant),
            (None, Some(id)) => {
                self.environment = Some(environment_name(segment)?);
                self.arrive(id);
            }
            (None, None) => self.at = None,
        }
        Ok(())
    }

    /// `%2F` may pass only after an environment, where nothing depends on the number of segments any more.
    fn allows_encoded_slash(&self) -> bool {
        self.template.is_some()
            && self.route.is_some_and(|route| self.table.routes[route].encoded_slash == EncodedSlash::Allow)
    }

    fn end(mut self, trailing_slash: bool) -> Result<Routed<'t, 'p>, RoutingError> {
        if let Some(node) = self.at {
            let public = if trailing_slash { node.public_with_slash } else { node.public };
            if let Some(index) = public {
                return Ok(self.routed(index, PathClass::Public, ClassReason::PublicPath));
            }
            if let (Some(id), true) = (node.environment, trailing_slash) {
                // an empty id is a malformed one
                self.collect(&node.beneath);
                self.environment = Some(EnvironmentName::Malformed);
                self.arrive(id);
                self.end_at(self.table.tree.node(id), false);
            } else {
                self.end_at(node, trailing_slash);
            }
        }
        let index = self.route.ok_or(RoutingError::NoRoute)?;
        Ok(match (self.environment, self.template, self.shared) {
            (Some(name), Some(template), _) => {
                self.routed(index, PathClass::Environment(name), ClassReason::Template(template))
            }
            (_, _, Some(pattern)) => self.routed(index, PathClass::Shared, ClassReason::Shared(pattern)),
            _ => self.routed(index, PathClass::Account, ClassReason::Nothing),
        })
    }

    /// The path ends at `node`. Some upstreams take `/x/` for `/x`, others for something beneath it: what grants
    /// must hold for both readings, what takes away holds if it does for one.
    fn end_at(&mut self, node: &'t Node, trailing_slash: bool) {
        let (here, beneath) = (&node.here, &node.beneath);
        if !trailing_slash || beneath.shared.is_some() {
            self.shared = self.shared.or(here.shared.as_deref());
        }
        self.readonly_upgrade |= here.readonly_upgrade && (!trailing_slash || beneath.readonly_upgrade);
        self.owner_only |=
            here.owner_only || (trailing_slash && beneath.owner_only) || node.template.is_some();
    }

    fn routed(&self, index: usize, class: PathClass<'p>, class_reason: ClassReason<'t>) -> Routed<'t, 'p> {
        Routed {
            route: &self.table.routes[index],
            index,
            class,
            owner_only: self.owner_only && matches!(class, PathClass::Environment(_) | PathClass::Account),
            readonly_upgrade: self.readonly_upgrade,
            class_reason,
            path: self.path,
        }
    }
}

/// Reads the segment that stands where an environment's id stands.
fn environment_name(segment: &[u8]) -> Result<EnvironmentName<'_>, PathRefusal> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    let text = match std::str::from_utf8(segment) {
        Ok(text) if segment.iter().all(is_plain) => text,
        _ => return Err(PathRefusal::EnvironmentVariant),
    };
    let without_dots = text.trim_end_matches('.');
    Ok(match EnvironmentId::is_well_formed(without_dots.as_bytes()) {
        true if without_dots.len() == text.len() => EnvironmentName::Named(text),
        true => EnvironmentName::Ambiguous,
        false => EnvironmentName::Malformed,
    })
}

#[cfg(test)]
mod tests;
