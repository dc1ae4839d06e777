//! The links of the documentation: each relative link names a file, each anchor names a heading, and each chapter is in the
//! book's table of contents.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn links_lead_somewhere() {
    let root = root();
    let mut files: Vec<_> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root.join(name)).into();
    files.extend(chapters(&root));
    let crates = fs::read_dir(root.join("crates")).unwrap();
    files.extend(crates.map(|entry| entry.unwrap().path().join("README.md")).filter(|path| path.exists()));
    assert!(files.len() > 10, "only {} files were read", files.len());

    let broken: Vec<_> = files.iter().flat_map(|file| broken_links(file)).collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn every_chapter_is_in_the_summary() {
    let docs = root().join("docs");
    let summary = links(&fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    let listed = |path: &PathBuf| summary.iter().any(|link| docs.join(link) == *path);
    let missing: Vec<_> =
        chapters(&root()).into_iter().filter(|path| !path.ends_with("SUMMARY.md") && !listed(path)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn links_and_headings_are_found() {
    let text = "[a](b.md#c) `[no](code)`\n```rust\n[no](fence)\n# no\n```\n![d](e.png)\n<img src=\"f.png\">";
    assert_eq!(links(text), ["b.md#c", "e.png", "f.png"]);
    let text = "# Eq. 1-2: `a_b`, [c](d.md) e\n```sh\n# no\n```\n## Twice\n## Twice\n#no";
    assert_eq!(anchors(text), ["eq-1-2-a_b-c-e", "twice", "twice-1"]);
}

/// The root of the repository.
fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// The Markdown files of docs/.
fn chapters(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The links of a file that lead nowhere, one line each.
fn broken_links(file: &Path) -> Vec<String> {
    let file = fs::canonicalize(file).unwrap(); // burn-mcl's README is a link to the root's
    let folder = file.parent().unwrap();
    let mut broken = Vec::new();
    for link in links(&fs::read_to_string(&file).unwrap()) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) =
            link.split_once('#').map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
        let target = if path.is_empty() { file.clone() } else { folder.join(path) };
        if !target.exists() {
            broken.push(format!("{}: {link}: no such file", file.display()));
        } else if let Some(anchor) = anchor
            && !anchors(&fs::read_to_string(&target).unwrap()).iter().any(|found| found == anchor)
        {
            broken.push(format!("{}: {link}: no such heading", file.display()));
        }
    }
    broken
}

/// The targets of the links and images in a Markdown text.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // The parts at even places lie outside of code.
        for part in line.split('`').step_by(2) {
            for (opening, closing) in [("](", ')'), ("src=\"", '"')] {
                let targets = part.split(opening).skip(1).filter_map(|rest| rest.split_once(closing));
                found.extend(targets.map(|(target, _)| target.to_string()));
            }
        }
    }
    found
}

/// The anchors of the headings of a Markdown text, by GitHub's rule.
fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut slugs: Vec<String> = Vec::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ').map(str::trim) else { continue };
        let words = title.split("](").enumerate().map(|(at, part)| match part.split_once(')') {
            Some((_target, rest)) if at > 0 => rest,
            _ => part,
        });
        let kept = words.flat_map(str::chars).filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect();
        let before = slugs.iter().filter(|earlier| **earlier == slug).count();
        found.push(if before == 0 { slug.clone() } else { format!("{slug}-{before}") });
        slugs.push(slug);
    }
    found
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}
