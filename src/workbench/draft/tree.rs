//! The folders of a survey, and which of them are built alike.

use std::collections::{BTreeSet, HashMap};

use floorgate_adapter_api::{Point, PointKind, Scalar};

/// The place of a folder in [`Tree::folders`]. A folder comes after the one that it is in.
pub type FolderId = usize;

/// A role of which one machine has one.
pub type RoleKey = (&'static str, &'static str);

/// The folders of a survey; the first is the one that holds all.
#[derive(Debug)]
pub struct Tree<'s> {
    pub folders: Vec<Folder<'s>>,
}

/// A folder: whatever has something below it.
#[derive(Debug, Default)]
pub struct Folder<'s> {
    pub name: &'s str,
    pub parent: FolderId,
    pub depth: usize,
    /// In the order of the device.
    pub children: Vec<FolderId>,
    /// Places of the points that lie directly in it.
    pub points: Vec<usize>,
    /// Folders of one shape have the same points by path and kind.
    pub shape: usize,
    /// The roles of all points below it.
    pub roles: BTreeSet<RoleKey>,
    /// Whether a role is there twice, so that it is more than one machine.
    pub is_several: bool,
    /// How many points lie below it, at any depth.
    pub size: usize,
}

/// What makes two points alike, besides their place.
type PointKey<'s> = (
    PointKind,
    Option<&'s str>,
    Option<(RoleKey, Option<&'static str>)>,
    &'s [(i64, String)],
    Vec<(&'static str, String)>,
);

/// What makes two folders alike: their points by name and kind, and their folders by name and shape.
type ShapeKey<'s> = (Vec<(&'s str, usize)>, Vec<(&'s str, usize)>);

impl<'s> Tree<'s> {
    pub fn new(points: &'s [Point]) -> Self {
        let mut folders = vec![Folder::default()];
        let mut known: HashMap<(FolderId, &str), FolderId> = HashMap::new();
        for (place, point) in points.iter().enumerate() {
            let mut at = 0;
            let above = point.path.len().saturating_sub(1);
            for name in &point.path[..above] {
                at = *known.entry((at, name.as_str())).or_insert_with(|| {
                    let new = folders.len();
                    let depth = folders[at].depth + 1;
                    folders.push(Folder {
                        name,
                        parent: at,
                        depth,
                        ..Folder::default()
                    });
                    folders[at].children.push(new);
                    new
                });
            }
            folders[at].points.push(place);
        }
        let mut tree = Self { folders };
        tree.compare(points);
        tree
    }

    /// Finds shape and roles of each folder, from the deepest up.
    fn compare(&mut self, points: &'s [Point]) {
        let mut kinds: HashMap<PointKey<'s>, usize> = HashMap::new();
        let mut shapes: HashMap<ShapeKey<'s>, usize> = HashMap::new();
        for id in (0..self.folders.len()).rev() {
            let folder = &self.folders[id];
            let mut roles = BTreeSet::new();
            let mut is_several = false;
            let mut size = folder.points.len();
            let mut own = Vec::with_capacity(folder.points.len());
            for &place in &folder.points {
                let point = &points[place];
                let next = kinds.len();
                let kind = *kinds.entry(key_of(point)).or_insert(next);
                own.push((own_name(point), kind));
                if let Some(role) = &point.role {
                    is_several |= !roles.insert((role.event, role.field));
                }
            }
            let mut below = Vec::with_capacity(folder.children.len());
            for &child in &folder.children {
                let child = &self.folders[child];
                below.push((child.name, child.shape));
                is_several |= child.is_several || !roles.is_disjoint(&child.roles);
                roles.extend(child.roles.iter().copied());
                size += child.size;
            }
            own.sort_unstable();
            below.sort_unstable();
            let next = shapes.len();
            let shape = *shapes.entry((own, below)).or_insert(next);
            let folder = &mut self.folders[id];
            (folder.shape, folder.roles) = (shape, roles);
            (folder.is_several, folder.size) = (is_several, size);
        }
    }

    /// The names from below the first folder down to this one.
    pub fn path(&self, mut id: FolderId) -> Vec<&'s str> {
        let mut path = Vec::with_capacity(self.folders[id].depth);
        while id != 0 {
            path.push(self.folders[id].name);
            id = self.folders[id].parent;
        }
        path.reverse();
        path
    }

    /// The points below a folder at any depth, in the order of the device.
    pub fn points_below(&self, id: FolderId) -> Vec<usize> {
        let mut waiting = vec![id];
        let mut found = Vec::with_capacity(self.folders[id].size);
        while let Some(id) = waiting.pop() {
            found.extend_from_slice(&self.folders[id].points);
            waiting.extend_from_slice(&self.folders[id].children);
        }
        found.sort_unstable();
        found
    }

    /// How many folders from the top hold nothing but one other: they tell nothing apart.
    pub fn common_depth(&self) -> usize {
        let mut at = 0;
        while let ([only], []) = (
            self.folders[at].children.as_slice(),
            self.folders[at].points.as_slice(),
        ) {
            at = *only;
        }
        self.folders[at].depth
    }
}

/// A point's own name.
pub fn own_name(point: &Point) -> &str {
    point.path.last().map_or("", String::as_str)
}

fn key_of(point: &Point) -> PointKey<'_> {
    let role = point
        .role
        .as_ref()
        .map(|role| ((role.event, role.field), role.values));
    // What cannot become a parameter has to be the same in all instances.
    let address = point.address.iter().map(|(key, value)| {
        let form = match value {
            Scalar::Text(_) => "text".to_owned(),
            Scalar::Int(_) => "whole".to_owned(),
            other => format!("{other:?}"),
        };
        (*key, form)
    });
    (
        point.kind,
        point.unit.as_deref(),
        role,
        &point.states,
        address.collect(),
    )
}
