//! No circle of modules: in each crate the imports, by `use` lines and by paths in the code, lead one way. The inside of the proxy is the one exception.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// Crates whose modules may still import each other, with the reason.
const EXEMPT: &[(&str, &str)] = &[("crates/proxy", "its modules are rebuilt together with an HTTP codec of its own")];

/// A module: its path from the crate's root, empty for the root itself.
type Module = Vec<String>;

/// The modules of a crate, the imports of each, and what each re-exports.
#[derive(Default)]
struct Crate {
    imports: BTreeMap<Module, Vec<Vec<String>>>,
    /// The path behind a re-exported name.
    exports: BTreeMap<(Module, String), Vec<String>>,
}

impl Crate {
    fn read(sources: &Path) -> Crate {
        let mut read = Crate::default();
        let mut folders = vec![sources.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    read.add(sources, &path);
                }
            }
        }
        read
    }

    fn add(&mut self, sources: &Path, path: &Path) {
        let mut module: Module = path.strip_prefix(sources).unwrap().with_extension("").iter().map(text).collect();
        if matches!(module.last().map(String::as_str), Some("mod")) || module == ["lib"] || module == ["main"] {
            module.pop();
        }
        // The tests of a module import whatever they test.
        if module.iter().any(|part| part == "tests" || part == "template_tests") {
            return;
        }
        self.imports.entry(module.clone()).or_default();
        let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
        Imports { of: self, module, inside: Vec::new() }.visit_file(&file);
    }

    /// The module that a path names, and the rest of the path: the path is relative to `from` as Rust 2024 has it.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<(Module, Vec<String>)> {
        let mut rest = path;
        let mut module = from.clone();
        match path.first()?.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => drop(module.pop()),
            child => {
                module.push(child.to_owned());
                self.imports.get(&module)?;
            }
        }
        rest = &rest[1..];
        while let Some(first) = rest.first() {
            if first == "super" {
                module.pop();
            } else {
                module.push(first.clone());
                if !self.imports.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
            rest = &rest[1..];
        }
        Some((module, rest.to_vec()))
    }

    /// The module in which the item of a path is defined: re-exports are followed.
    fn origin(&self, from: &Module, path: &[String]) -> Option<Module> {
        let (module, rest) = self.resolve(from, path)?;
        let exported = rest.first().and_then(|name| self.exports.get(&(module.clone(), name.clone())));
        let behind = exported.filter(|behind| behind.as_slice() != path).and_then(|path| self.origin(&module, path));
        Some(behind.unwrap_or(module))
    }

    /// The modules that each module imports from.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |module: &Module, paths: &[Vec<String>]| -> BTreeSet<Module> {
            paths.iter().filter_map(|path| self.origin(module, path)).filter(|origin| origin != module).collect()
        };
        self.imports.iter().map(|(module, paths)| (module, of(module, paths))).collect()
    }

    /// A circle of modules, from a module back to itself.
    fn circle(&self) -> Option<Vec<String>> {
        let edges = self.edges();
        edges.keys().find_map(|start| {
            let mut before = BTreeMap::<Module, Module>::new();
            let mut queue = vec![(*start).clone()];
            while let Some(module) = queue.pop() {
                for next in edges.get(&module).into_iter().flatten() {
                    if next == *start {
                        let mut circle = vec![shown(start), shown(&module)];
                        let mut at = &module;
                        while let Some(previous) = before.get(at) {
                            circle.push(shown(previous));
                            at = previous;
                        }
                        circle.reverse();
                        return Some(circle);
                    }
                    if !before.contains_key(next) {
                        before.insert(next.clone(), module.clone());
                        queue.push(next.clone());
                    }
                }
            }
            None
        })
    }
}

/// Collects the `use` lines of one file.
struct Imports<'a> {
    of: &'a mut Crate,
    module: Module,
    /// The modules inside the file that surround the present item.
    inside: Vec<String>,
}

impl Imports<'_> {
    fn import(&mut self, path: Vec<String>) {
        let path = self.absolute(path);
        self.of.imports.get_mut(&self.module).unwrap().push(path);
    }

    /// The path from the crate's root, where it is relative to the module in which it stands.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let mut base: Module = self.module.iter().chain(&self.inside).cloned().collect();
        let mut rest = path.as_slice();
        if !matches!(rest[0].as_str(), "self" | "super") {
            return path;
        }
        while let [first, others @ ..] = rest
            && matches!(first.as_str(), "self" | "super")
        {
            if first == "super" {
                base.pop();
            }
            rest = others;
        }
        std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect()
    }
}

impl Visit<'_> for Imports<'_> {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if item.attrs.iter().any(is_test) || item.content.is_none() {
            return;
        }
        // A module inside the file belongs to the file.
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }

    fn visit_path(&mut self, path: &syn::Path) {
        // A path in the code, such as `crate::secret::secret()`, imports as much as a `use` line.
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 && matches!(parts[0].as_str(), "crate" | "super" | "self") {
            self.import(parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        if item.attrs.iter().any(is_test) {
            return;
        }
        let mut paths = Vec::new();
        expand(&item.tree, Vec::new(), &mut paths);
        for (path, name) in paths {
            match item.vis {
                // A re-export is a name for something elsewhere, and no import.
                Visibility::Inherited => self.import(path),
                _ => drop(self.of.exports.insert((self.module.clone(), name), self.absolute(path))),
            }
        }
    }
}

fn expand(tree: &UseTree, mut path: Vec<String>, into: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            expand(&part.tree, path, into);
        }
        UseTree::Name(name) if name.ident == "self" => {
            into.push((path.clone(), path.last().cloned().unwrap_or_default()))
        }
        UseTree::Name(name) => {
            path.push(name.ident.to_string());
            into.push((path, name.ident.to_string()));
        }
        UseTree::Rename(rename) => {
            path.push(rename.ident.to_string());
            into.push((path, rename.rename.to_string()));
        }
        UseTree::Glob(_) => into.push((path, "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| expand(tree, path.clone(), into)),
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
}

fn text(part: &std::ffi::OsStr) -> String {
    part.to_str().unwrap().to_owned()
}

fn shown(module: &Module) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// The folders of all crates of the workspace.
fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let children = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let all = children("crates").chain(children("tests")).chain(children("examples")).chain([root.join("sim")]);
    all.filter(|folder| folder.join("src").is_dir()).collect()
}

#[test]
fn modules_import_one_way() {
    let mut circles = Vec::new();
    let all = crates();
    assert!(all.len() > 15, "{all:?}");
    for folder in all {
        if !EXEMPT.iter().any(|(exempt, _)| folder.ends_with(exempt)) {
            let circle = Crate::read(&folder.join("src")).circle();
            circles.extend(circle.map(|circle| format!("{}: {}", folder.display(), circle.join(" -> "))));
        }
    }
    assert!(circles.is_empty(), "modules import each other:\n{}", circles.join("\n"));
}

#[test]
fn circle_is_found_behind_a_re_export() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a; mod b; pub use b::B;");
    write("a.rs", "use crate::B; pub struct A;");
    write("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }");
    assert_eq!(Crate::read(folder.path()).circle(), None);
    for import in [
        "use super::a::{self};",
        "fn f() -> crate::a::A { crate::a::A }",
        "pub(crate) use self::inner::C; mod inner { use crate::a::A; pub struct C; }",
    ] {
        write("b.rs", &format!("{import} pub struct B;"));
        let circle = Crate::read(folder.path()).circle();
        assert!(circle.is_some_and(|circle| circle.contains(&"a".to_owned())), "no circle was found: {import}");
    }
}
