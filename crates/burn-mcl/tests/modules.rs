//! Modules import in one direction: no two files of a crate need each other, directly or round a corner.
//!
//! The sources are read as text. An edge goes from a file to each file whose items it names by a path that begins with
//! `crate::`, `super::`, `self::` or the name of a child. Two things are no edges: a parent that declares or re-exports its
//! children, and test modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Module = Vec<String>;

#[test]
fn no_crate_has_modules_that_import_each_other() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut circles = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(crates).unwrap() {
        let sources = entry.unwrap().path().join("src");
        if sources.join("lib.rs").exists() {
            let modules = modules(&sources);
            files += modules.len();
            circles.extend(
                circles_of(&modules).into_iter().map(|circle| format!("{}: {circle}", sources.display())),
            );
        }
    }
    assert!(files > 150, "only {files} files were read");
    assert!(circles.is_empty(), "modules that import each other:\n{}", circles.join("\n"));
}

#[test]
fn circles_are_found() {
    let module = |path: &str, text: &str| {
        (
            path.split("::").filter(|name| !name.is_empty()).map(String::from).collect::<Module>(),
            text.to_string(),
        )
    };
    let find =
        |list: &[(&str, &str)]| circles_of(&list.iter().map(|(path, text)| module(path, text)).collect());
    let direct = [("", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "fn f() { super::a::g() }")];
    assert_eq!(find(&direct), ["a, b"]);
    let round = [("a", "use crate::{b::{self, X}, c};"), ("b", "use super::c::C;"), ("c", "use crate::a;")];
    assert_eq!(find(&round), ["a, b, c"]);
    let parent = [("p", "mod q;\nuse q::Q;\npub const SIDE: usize = 1;"), ("p::q", "use super::SIDE;")];
    assert_eq!(find(&parent), ["p, p::q"]);
    let declared = [
        ("p", "mod q;\npub use q::Q;"),
        ("p::q", "// use super::SIDE\nuse crate::r::R;"),
        ("r", "struct R;"),
    ];
    assert!(find(&declared).is_empty());
    let tested = [("a", "use crate::b::B;"), ("b", "#[cfg(test)]\nmod tests { use crate::a::A; }")];
    assert!(find(&tested).is_empty());
}

/// The text of every module of a crate, without comments and tests.
fn modules(sources: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![sources.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(sources).unwrap().with_extension("");
                let mut module: Module =
                    relative.iter().map(|name| name.to_string_lossy().into_owned()).collect();
                if module.iter().any(|name| name == "tests") || module == ["main"] {
                    continue;
                }
                if module == ["lib"] || module.last().is_some_and(|name| name == "mod") {
                    module.pop();
                }
                found.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Groups of modules that reach each other.
fn circles_of(modules: &BTreeMap<Module, String>) -> Vec<String> {
    let edges: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(module, text)| (module, targets(module, text, modules))).collect();
    let reached: BTreeMap<&Module, BTreeSet<Module>> = edges
        .keys()
        .map(|&from| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = next.pop() {
                next.extend(edges[&module].iter().filter(|target| !seen.contains(*target)).cloned());
                seen.extend(edges[&module].iter().cloned());
            }
            (from, seen)
        })
        .collect();
    let mut circles = BTreeSet::new();
    for (from, seen) in &reached {
        let group: Vec<String> = seen
            .iter()
            .filter(|to| reached[to].contains(*from))
            .map(|module| if module.is_empty() { "lib".into() } else { module.join("::") })
            .collect();
        if group.len() > 1 {
            circles.insert(group.join(", "));
        }
    }
    circles.into_iter().collect()
}

/// The modules that a module uses.
fn targets(module: &Module, text: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let text: String =
        text.lines().map(|line| line.split("//").next().unwrap_or("").to_string() + "\n").collect();
    let tests = text.match_indices("#[cfg(").find(|(at, _)| {
        let rest = &text[*at..];
        let (attribute, after) = rest.split_once(']').unwrap_or((rest, ""));
        attribute.contains("test")
            && after.trim_start().starts_with("mod ")
            && !after.trim_start().starts_with("mod tests;")
    });
    let text = &text[..tests.map_or(text.len(), |(at, _)| at)];

    let mut paths: Vec<Module> = Vec::new();
    let mut body = String::new();
    let mut rest = text;
    while let Some(at) = next_use(rest) {
        let (before, statement) = rest.split_at(at);
        let (statement, after) = statement.split_once(';').unwrap_or((statement, ""));
        body.push_str(before);
        // What a module re-exports it only declares.
        if !before.trim_end().ends_with("pub") && !before.trim_end().ends_with(')') {
            expand(statement.trim_start_matches("use").trim(), &[], &mut paths);
        }
        rest = after;
    }
    body.push_str(rest);
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in body.match_indices(start) {
            let inside =
                body[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
            if !inside {
                let path: String = body[at..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                    .collect();
                paths.push(path.split("::").filter(|name| !name.is_empty()).map(String::from).collect());
            }
        }
    }
    paths.iter().filter_map(|path| target(module, path, modules)).collect()
}

/// Where the next `use` statement begins.
fn next_use(text: &str) -> Option<usize> {
    text.match_indices("use ").map(|(at, _)| at).find(|&at| {
        let line = text[..at].rsplit('\n').next().unwrap_or("").trim();
        line.is_empty() || line == "pub" || (line.starts_with("pub(") && line.ends_with(')'))
    })
}

/// `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Module>) {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        let (head, inner) = part.split_once('{').map_or((part, None), |(head, inner)| (head, Some(inner)));
        let head = head.split(" as ").next().unwrap_or("");
        let names = head.split("::").map(|name| name.trim().to_string()).filter(|name| !name.is_empty());
        let path: Vec<String> = prefix.iter().cloned().chain(names).collect();
        match inner {
            Some(inner) => expand(inner.rsplit_once('}').map_or(inner, |(inner, _)| inner), &path, paths),
            None => paths.push(path),
        }
    }
}

/// The module that a path names an item of.
fn target(module: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut at = module.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "super" | "self" => {
            while let Some(name) = rest.first().filter(|name| ["super", "self"].contains(&name.as_str())) {
                if name == "super" {
                    at.pop();
                }
                rest = &rest[1..];
            }
        }
        name => {
            let child: Module = module.iter().cloned().chain([name.to_string()]).collect();
            modules.contains_key(&child).then_some(())?;
        }
    }
    while let Some(name) = rest.first() {
        at.push(name.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
        rest = &rest[1..];
    }
    if at == *module || at.is_empty() {
        return None;
    }
    // From an ancestor: only what it defines itself. What it re-exports is another module's.
    if module.starts_with(&at) {
        let item = rest.last()?;
        let kinds = ["const", "fn", "struct", "enum", "trait", "type", "static"];
        let defined = kinds.iter().any(|kind| {
            let definition = format!("{kind} {item}");
            modules[&at].match_indices(&definition).any(|(found, _)| {
                let after = modules[&at][found + definition.len()..].chars().next();
                !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        });
        return defined.then_some(at);
    }
    Some(at)
}
