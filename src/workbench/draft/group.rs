//! Which points become one mapping.
//!
//! Folders of one shape are the instances of a template, as far up as each is one machine: a line with two machines that each have a
//! state is taken apart, since a state is told of one equipment. What is left belongs to the mapping of the whole.

use std::collections::HashMap;

use floorgate_adapter_api::Point;

use super::names;
use super::parameters::{self, Parameters};
use super::tree::{FolderId, Tree};

/// The points of one mapping.
#[derive(Debug)]
pub struct Group {
    /// What its equipment is called, for the mapping's name; the mapping of the whole has none.
    pub kind: Option<String>,
    /// The points of each instance, in one order; a mapping that is no template has one.
    pub instances: Vec<Vec<usize>>,
    /// Parameters, addresses and equipment, where it is a template.
    pub parameters: Option<Parameters>,
    /// The equipment below that of the whole, where it is no template; empty for the whole itself.
    pub equipment: String,
    /// How many names stand before what tells a point of it apart.
    pub depth: usize,
}

/// Most levels of an equipment path.
const MOST_LEVELS: usize = 8;

/// What is still to be looked at: folders of one shape, and the mapping that their rest belongs to.
struct Task {
    folders: Vec<FolderId>,
    rest: usize,
}

/// Groups in the order of the device, that of the whole first. `levels` is how many the equipment of the whole has.
pub fn groups(points: &[Point], tree: &Tree<'_>, levels: usize) -> Vec<Group> {
    let mut search = Search {
        points,
        tree,
        levels: MOST_LEVELS.saturating_sub(levels).max(1),
        common: tree.common_depth(),
        groups: vec![whole(tree)],
    };
    let mut waiting = vec![Task {
        folders: vec![0],
        rest: 0,
    }];
    while let Some(task) = waiting.pop() {
        search.look(&task, &mut waiting);
    }
    let mut groups = search.groups;
    for group in groups.iter_mut().filter(|group| group.parameters.is_none()) {
        group.instances[0].sort_unstable();
    }
    groups[1..].sort_by_key(|group| group.instances[0].iter().min().copied());
    groups.retain(|group| !group.instances[0].is_empty());
    if groups.is_empty() {
        groups.push(whole(tree));
    }
    groups
}

fn whole(tree: &Tree<'_>) -> Group {
    Group {
        kind: None,
        instances: vec![Vec::new()],
        parameters: None,
        equipment: String::new(),
        depth: tree.common_depth(),
    }
}

struct Search<'a, 's> {
    points: &'a [Point],
    tree: &'a Tree<'s>,
    /// How many levels there are below the equipment of the whole.
    levels: usize,
    common: usize,
    groups: Vec<Group>,
}

impl Search<'_, '_> {
    fn look(&mut self, task: &Task, waiting: &mut Vec<Task>) {
        let first = &self.tree.folders[task.folders[0]];
        let repeats = task.folders.len() > 1;
        if repeats && !first.is_several {
            let instances = task.folders.iter().map(|&folder| self.tree.points_below(folder));
            let instances: Vec<_> = instances.collect();
            self.template(&task.folders, &instances, task.rest);
            return;
        }
        if repeats {
            let own = |&folder: &FolderId| self.tree.folders[folder].points.clone();
            let instances: Vec<_> = task.folders.iter().map(own).collect();
            self.template(&task.folders, &instances, task.rest);
        } else {
            let own = self.tree.folders[task.folders[0]].points.clone();
            self.groups[task.rest].instances[0].extend(own);
        }
        let is_several = first.is_several;
        for folders in self.alike(&task.folders) {
            let below = &self.tree.folders[folders[0]];
            // A machine that is the only one of its kind, beside others.
            let is_machine = is_several && folders.len() == 1 && !below.is_several && !below.roles.is_empty();
            let rest = if is_machine {
                self.single(folders[0])
            } else {
                task.rest
            };
            waiting.push(Task { folders, rest });
        }
    }

    /// The folders in these folders, those of one shape together. The last comes first: it is taken from the end of a list.
    fn alike(&self, folders: &[FolderId]) -> Vec<Vec<FolderId>> {
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut bundles: Vec<Vec<FolderId>> = Vec::new();
        for &folder in folders {
            for &child in &self.tree.folders[folder].children {
                let place = *places.entry(self.tree.folders[child].shape).or_insert_with(|| {
                    bundles.push(Vec::new());
                    bundles.len() - 1
                });
                bundles[place].push(child);
            }
        }
        bundles.reverse();
        bundles
    }

    /// Adds a mapping of one machine, and tells its place.
    fn single(&mut self, folder: FolderId) -> usize {
        self.groups.push(Group {
            kind: Some(self.tree.folders[folder].name.to_owned()),
            instances: vec![Vec::new()],
            parameters: None,
            equipment: self.equipment(folder),
            depth: self.tree.folders[folder].depth,
        });
        self.groups.len() - 1
    }

    /// Adds a template; where its addresses cannot be told apart by parameters, its points go to the rest, or to a mapping each.
    fn template(&mut self, folders: &[FolderId], instances: &[Vec<usize>], rest: usize) {
        if instances[0].is_empty() {
            return;
        }
        let depth = self.tree.folders[folders[0]].depth;
        let instances = in_one_order(self.points, instances, |at| self.tree.folders[folders[at]].depth);
        let labels = names::distinct(folders.iter().map(|&folder| self.equipment(folder)));
        let own: Vec<&str> = folders.iter().map(|&id| self.tree.folders[id].name).collect();
        let parents: Vec<FolderId> = folders.iter().map(|&id| self.tree.folders[id].parent).collect();
        let kind = names::kind_of(&own).or_else(|| {
            // What lies in one folder may be called as that is.
            let is_one = parents.iter().all(|parent| *parent == parents[0]);
            is_one.then(|| names::kind_of(&[self.tree.folders[parents[0]].name]))?
        });
        let kind = kind.unwrap_or_else(|| "unit".to_owned());
        if let Some(parameters) = parameters::find(self.points, &instances, &labels, &kind) {
            self.groups.push(Group {
                kind: Some(kind),
                instances,
                parameters: Some(parameters),
                equipment: String::new(),
                depth,
            });
            return;
        }
        let has_roles = instances[0]
            .iter()
            .any(|&place| self.points[place].role.is_some());
        for (folder, points) in folders.iter().zip(instances) {
            let place = if has_roles { self.single(*folder) } else { rest };
            self.groups[place].instances[0].extend(points);
        }
    }

    /// The equipment of a folder, below that of the whole.
    fn equipment(&self, folder: FolderId) -> String {
        let path = self.tree.path(folder);
        let path = path.get(self.common.min(path.len().saturating_sub(1))..);
        let levels: Vec<String> = path
            .unwrap_or_default()
            .iter()
            .map(|name| names::plain(name, 64))
            .collect();
        let Some(surplus) = levels.len().checked_sub(self.levels) else {
            return levels.join("/");
        };
        let first = names::plain(&levels[..=surplus].join("-"), 64);
        let rest = levels.iter().skip(surplus + 1).map(String::as_str);
        std::iter::once(first.as_str())
            .chain(rest)
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// The points of each instance in the order of the first one's.
fn in_one_order(
    points: &[Point],
    instances: &[Vec<usize>],
    depth: impl Fn(usize) -> usize,
) -> Vec<Vec<usize>> {
    // Of points with one path and kind the first is that of the others.
    let order = |at: usize, places: &[usize]| {
        let depth = depth(at);
        let mut order: Vec<usize> = places.to_vec();
        order.sort_by(|&one, &other| {
            let of = |place: usize| {
                let point = &points[place];
                (
                    &point.path[depth.min(point.path.len())..],
                    point.kind as u8,
                    point.unit.as_deref(),
                    point.role.as_ref().map(|role| (role.event, role.field)),
                )
            };
            of(one).cmp(&of(other))
        });
        order
    };
    let sorted: Vec<Vec<usize>> = instances
        .iter()
        .enumerate()
        .map(|(at, places)| order(at, places))
        .collect();
    let rank: HashMap<usize, usize> = sorted[0]
        .iter()
        .enumerate()
        .map(|(rank, &place)| (place, rank))
        .collect();
    sorted
        .iter()
        .map(|sorted| instances[0].iter().map(|place| sorted[rank[place]]).collect())
        .collect()
}
