//! The routes as one tree of segments. Each literal, and each `{environment}`, of a route, template or pattern is a node.
//!
//! Building the tree finds the problems that routes have together. `route.rs` looks paths up in it.

use std::cmp::Ordering;

use super::work_counter;
use crate::config::{Access, EnvironmentKeyAccess, FilePosition, KeyAccess, Route, TemplateSegment};

/// A problem of a route, alone or together with others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {path}: {problem}")]
pub struct RouteProblem {
    /// The route's path.
    pub path: String,
    /// Where the route stands in the configuration.
    pub position: FilePosition,
    /// Which one.
    pub problem: RouteProblemKind,
}

/// The kinds of problems that well-formed routes can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblemKind {
    /// Two routes of one kind for one path.
    #[error("another route has the same path")]
    Duplicate,
    /// Some upstreams take these for one another, so the gateway could protect neither.
    #[error(
        "'{text}' uses '{literal}' where another route or pattern has '{other}': they differ in case only"
    )]
    CaseVariant {
        /// the path, template or pattern
        text: String,
        /// its segment
        literal: String,
        /// the other's segment
        other: String,
    },
    /// An environment could have the literal as its id, and then the path would have two meanings.
    #[error(
        "'{text}': at '{segment}' a literal and {{environment}} stand in the same place; an environment could have that name"
    )]
    LiteralBesideEnvironment {
        /// the path, template or pattern
        text: String,
        /// its segment
        segment: String,
    },
    /// The longer route takes the path, so the pattern would never apply.
    #[error("'{text}' lies in the territory of route {other}: write it there")]
    InOtherRoute {
        /// the template or pattern
        text: String,
        /// the route that has the longer prefix
        other: String,
    },
    /// `{environment}` where no template of the route has it.
    #[error("'{text}' lies under no environment template of this route")]
    OutsideTemplates {
        /// the pattern
        text: String,
    },
}

/// A node's index in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// The patterns that name one place; each is kept as its text.
#[derive(Debug, Default)]
pub(super) struct PatternMarks {
    pub(super) shared: Option<Box<str>>,
    pub(super) owner_only: bool,
    pub(super) readonly_upgrade: bool,
}

/// One segment that some route, template or pattern knows.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Sorted by the folded literal.
    literals: Vec<Edge>,
    /// How many bytes the longest literal has.
    pub(super) longest: usize,
    /// The place of an environment's id.
    pub(super) environment: Option<NodeId>,
    /// The route whose prefix ends here.
    pub(super) keyed: Option<usize>,
    /// The public route whose path this is.
    pub(super) public: Option<usize>,
    /// The public route whose path is this one with a slash at its end.
    pub(super) public_with_slash: Option<usize>,
    /// The template that ends here.
    pub(super) template: Option<Box<str>>,
    /// What names this very path.
    pub(super) here: PatternMarks,
    /// What names all paths beneath (`/**`).
    pub(super) beneath: PatternMarks,
}

/// The way from a node to the next by a literal.
#[derive(Debug)]
pub(super) struct Edge {
    folded: Box<[u8]>,
    pub(super) literal: Box<[u8]>,
    pub(super) to: NodeId,
}

impl Node {
    /// The edge whose literal equals `segment` when both are folded.
    ///
    /// `segment` is a lax form, or a segment that is its own lax form but for ASCII case.
    pub(super) fn edge(&self, segment: &[u8]) -> Option<&Edge> {
        self.find(segment).ok().map(|at| &self.literals[at])
    }

    fn find(&self, segment: &[u8]) -> Result<usize, usize> {
        self.literals.binary_search_by(|edge| compare_folded(&edge.folded, segment))
    }
}

fn compare_folded(folded: &[u8], segment: &[u8]) -> Ordering {
    work_counter::add(
        1 + folded.iter().zip(segment).take_while(|(a, b)| **a == b.to_ascii_lowercase()).count(),
    );
    folded.iter().copied().cmp(segment.iter().map(u8::to_ascii_lowercase))
}

/// All routes' segments.
#[derive(Debug)]
pub(super) struct RouteTree {
    nodes: Vec<Node>,
}

impl RouteTree {
    pub(super) const ROOT: NodeId = NodeId(0);

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Builds the tree, or lists all problems.
    pub(super) fn new(routes: &[Route]) -> Result<Self, Vec<RouteProblem>> {
        let mut tree = Self { nodes: vec![Node::default()] };
        let mut problems = Vec::new();
        let mut note = |route: &Route, result: Result<(), RouteProblemKind>| {
            problems.extend(result.err().map(|problem| RouteProblem {
                path: route.path.to_string(),
                position: route.position,
                problem,
            }));
        };
        // all prefixes first, so that patterns know which route has them; templates before what needs them
        for (index, route) in routes.iter().enumerate() {
            note(route, tree.add_route(index, route));
        }
        for (index, route, access) in keyed(routes) {
            for template in &access.environment {
                let text = template.to_string();
                note(route, tree.add_template(routes, index, &text, template.segments()));
            }
        }
        for (index, route, access) in keyed(routes) {
            for shared in &access.shared {
                let text = shared.to_string();
                let pattern =
                    Pattern { text: &text, segments: shared.segments(), prefix: shared.is_prefix() };
                note(
                    route,
                    tree.add_pattern(routes, index, &pattern, |marks| {
                        marks.shared = Some(text.as_str().into());
                    }),
                );
            }
            for owner in &access.owner_only {
                let text = owner.to_string();
                let pattern = Pattern { text: &text, segments: owner.segments(), prefix: owner.is_prefix() };
                note(route, tree.add_pattern(routes, index, &pattern, |marks| marks.owner_only = true));
                // `/**` takes rights away here, so the path itself is meant too
                if owner.is_prefix() {
                    let pattern = Pattern { prefix: false, ..pattern };
                    note(route, tree.add_pattern(routes, index, &pattern, |marks| marks.owner_only = true));
                }
            }
            if access.environment_key == EnvironmentKeyAccess::OwnEnvironment {
                let result = tree.add_owner_only_outside(routes, index, route, access);
                note(route, result);
            }
            for upgrade in &access.readonly_upgrades {
                let text = upgrade.to_string();
                let pattern =
                    Pattern { text: &text, segments: upgrade.segments(), prefix: upgrade.is_prefix() };
                note(route, tree.add_pattern(routes, index, &pattern, |marks| marks.readonly_upgrade = true));
            }
        }
        problems.dedup();
        if problems.is_empty() { Ok(tree) } else { Err(problems) }
    }

    fn add_route(&mut self, index: usize, route: &Route) -> Result<(), RouteProblemKind> {
        let path = route.path.to_string();
        let at = self.insert(&path, route.path.segments())?.pop().unwrap_or(Self::ROOT);
        let node = &mut self.nodes[at.0];
        let slot = match route.access {
            Access::Public { .. } if route.path.has_trailing_slash() => &mut node.public_with_slash,
            Access::Public { .. } => &mut node.public,
            Access::Keys(_) => &mut node.keyed,
        };
        match slot.replace(index) {
            None => Ok(()),
            Some(_) => Err(RouteProblemKind::Duplicate),
        }
    }

    fn add_template(
        &mut self,
        routes: &[Route],
        route: usize,
        text: &str,
        segments: &[TemplateSegment],
    ) -> Result<(), RouteProblemKind> {
        let nodes = self.insert(text, segments)?;
        self.check_own_prefix(routes, route, text, &nodes)?;
        let at = nodes.last().copied().unwrap_or(Self::ROOT);
        self.nodes[at.0].template = Some(text.into());
        Ok(())
    }

    /// Where what lies outside environments counts as an environment, the upstream has it there by the same names: what
    /// only owners may write inside is nothing for environment keys to write outside.
    fn add_owner_only_outside(
        &mut self,
        routes: &[Route],
        index: usize,
        route: &Route,
        access: &KeyAccess,
    ) -> Result<(), RouteProblemKind> {
        for (owner, template) in access
            .owner_only
            .iter()
            .flat_map(|owner| access.environment.iter().map(move |template| (owner, template)))
        {
            let Some(inside) = owner.segments().strip_prefix(template.segments()) else { continue };
            if inside.is_empty() {
                continue; // the environment as a whole has no other path
            }
            let segments = [route.path.segments(), inside].concat();
            let text = owner.to_string();
            for prefix in [false, owner.is_prefix()] {
                let pattern = Pattern { text: &text, segments: &segments, prefix };
                match self.add_pattern(routes, index, &pattern, |marks| marks.owner_only = true) {
                    // another route has it, or it is the place of an environment's id: it does not lie outside here
                    Err(
                        RouteProblemKind::InOtherRoute { .. }
                        | RouteProblemKind::LiteralBesideEnvironment { .. },
                    ) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    fn add_pattern(
        &mut self,
        routes: &[Route],
        route: usize,
        pattern: &Pattern<'_>,
        mark: impl FnOnce(&mut PatternMarks),
    ) -> Result<(), RouteProblemKind> {
        let nodes = self.insert(pattern.text, pattern.segments)?;
        self.check_own_prefix(routes, route, pattern.text, &nodes)?;
        let in_environment = pattern.segments.contains(&TemplateSegment::Environment);
        if in_environment && !nodes.iter().any(|id| self.node(*id).template.is_some()) {
            return Err(RouteProblemKind::OutsideTemplates { text: pattern.text.to_owned() });
        }
        let at = nodes.last().copied().unwrap_or(Self::ROOT);
        let node = &mut self.nodes[at.0];
        mark(if pattern.prefix { &mut node.beneath } else { &mut node.here });
        Ok(())
    }

    /// A pattern that passes the start of another route would never be asked: that route has the longer prefix.
    fn check_own_prefix(
        &self,
        routes: &[Route],
        route: usize,
        text: &str,
        nodes: &[NodeId],
    ) -> Result<(), RouteProblemKind> {
        let beneath = routes[route].path.segments().len();
        let other = nodes.iter().skip(beneath).find_map(|id| self.node(*id).keyed);
        match other {
            Some(other) => Err(RouteProblemKind::InOtherRoute {
                text: text.to_owned(),
                other: routes[other].path.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Makes the nodes for `segments`, and returns them in order, without the root.
    fn insert(&mut self, text: &str, segments: &[TemplateSegment]) -> Result<Vec<NodeId>, RouteProblemKind> {
        let mut at = Self::ROOT;
        let mut nodes = Vec::with_capacity(segments.len());
        for segment in segments {
            at = match segment {
                TemplateSegment::Literal(literal) => self.insert_literal(text, at, literal)?,
                TemplateSegment::Environment => self.insert_environment(text, at)?,
            };
            nodes.push(at);
        }
        Ok(nodes)
    }

    fn insert_literal(&mut self, text: &str, at: NodeId, literal: &str) -> Result<NodeId, RouteProblemKind> {
        let next = NodeId(self.nodes.len());
        let node = &mut self.nodes[at.0];
        if node.environment.is_some() {
            return Err(RouteProblemKind::LiteralBesideEnvironment {
                text: text.to_owned(),
                segment: literal.to_owned(),
            });
        }
        match node.find(literal.as_bytes()) {
            Ok(found) if *node.literals[found].literal == *literal.as_bytes() => Ok(node.literals[found].to),
            Ok(found) => Err(RouteProblemKind::CaseVariant {
                text: text.to_owned(),
                literal: literal.to_owned(),
                other: node.literals[found].literal.escape_ascii().to_string(),
            }),
            Err(place) => {
                let folded = literal.to_ascii_lowercase().into_bytes().into();
                node.longest = node.longest.max(literal.len());
                node.literals.insert(place, Edge { folded, literal: literal.as_bytes().into(), to: next });
                self.nodes.push(Node::default());
                Ok(next)
            }
        }
    }

    fn insert_environment(&mut self, text: &str, at: NodeId) -> Result<NodeId, RouteProblemKind> {
        let next = NodeId(self.nodes.len());
        let node = &mut self.nodes[at.0];
        if let Some(beside) = node.literals.first() {
            return Err(RouteProblemKind::LiteralBesideEnvironment {
                text: text.to_owned(),
                segment: beside.literal.escape_ascii().to_string(),
            });
        }
        if let Some(existing) = node.environment {
            return Ok(existing);
        }
        node.environment = Some(next);
        self.nodes.push(Node::default());
        Ok(next)
    }
}

struct Pattern<'a> {
    text: &'a str,
    segments: &'a [TemplateSegment],
    prefix: bool,
}

fn keyed(routes: &[Route]) -> impl Iterator<Item = (usize, &Route, &KeyAccess)> {
    routes.iter().enumerate().filter_map(|(index, route)| match &route.access {
        Access::Keys(access) => Some((index, route, access)),
        Access::Public { .. } => None,
    })
}

#[cfg(test)]
mod tests;
