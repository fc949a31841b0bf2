//! Writes down which versions of the peers are built in, as `Cargo.lock` has them: a figure
//! without the version that it was measured on is worth little, and one typed by hand goes stale.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let lock = find_lock();
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string(&lock).expect("Cargo.lock is readable");
    let versions = versions_of_dependencies(&text, "compare");
    assert!(!versions.is_empty(), "{} does not have the package `compare`", lock.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let table = format!("&{versions:?}");
    fs::write(out.join("versions.rs"), table).expect("OUT_DIR is writable");
}

/// The lock file of the workspace: the nearest one above this package.
fn find_lock() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    Path::new(&package)
        .ancestors()
        .map(|folder| folder.join("Cargo.lock"))
        .find(|lock| lock.is_file())
        .expect("cargo has made a Cargo.lock before it builds")
}

/// Name and version of each package that `package` depends on.
fn versions_of_dependencies(lock: &str, package: &str) -> Vec<(String, String)> {
    let packages: Vec<Locked<'_>> = lock.split("[[package]]").skip(1).map(Locked::parse).collect();
    let dependencies = packages.iter().find(|locked| locked.name == package);
    let dependencies = dependencies.map_or(&[][..], |locked| &locked.dependencies);
    let version_of = |dependency: &&str| {
        // `name`, or `name version` where the workspace has several of that name.
        let mut words = dependency.split(' ');
        let name = words.next().unwrap_or_default();
        let version = words.next();
        let locked = packages.iter().find(|locked| {
            locked.name == name && version.is_none_or(|version| locked.version == version)
        })?;
        Some((name.to_owned(), locked.version.to_owned()))
    };
    dependencies.iter().filter_map(version_of).collect()
}

struct Locked<'a> {
    name: &'a str,
    version: &'a str,
    dependencies: Vec<&'a str>,
}

impl<'a> Locked<'a> {
    fn parse(section: &'a str) -> Self {
        let field = |name: &str| {
            let line = section.lines().find_map(|line| line.strip_prefix(name));
            line.map_or("", |value| value.trim_matches([' ', '=', '"']))
        };
        let lines = section.lines().skip_while(|line| !line.starts_with("dependencies"));
        let dependencies = lines.skip(1).take_while(|line| *line != "]");
        Self {
            name: field("name "),
            version: field("version "),
            dependencies: dependencies.map(|line| line.trim_matches([' ', ',', '"'])).collect(),
        }
    }
}
