//! The tests of the library in one program: each program of its own would compile the library's generic code once more.

mod checkpoints;
mod common;
mod detector;
mod determinism;
mod disk;
mod docs;
mod events;
mod export;
mod fast;
mod kill;
mod learns;
mod modules;
mod mutations;
mod objectives;
mod odin;
mod own_network;
mod programs;
mod report;
mod resume;
mod saved;
mod scorers;
mod settings;
mod systems;
mod validation;

/// A file of tests that nothing names would never run.
#[test]
fn every_file_is_part_of_a_program() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (suite, manifest) = (read("tests/suite.rs"), read("Cargo.toml"));
    for entry in std::fs::read_dir(folder.join("tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) = name.strip_suffix(".rs") else { continue };
        let named = suite.contains(&format!("\nmod {module};"));
        assert!(named || manifest.contains(&format!("path = \"tests/{name}\"")), "{name} is in no program");
    }
}
