//! The documentation cites tests, and each of them exists.

use std::{fs, path::Path};

/// All source text below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// Every test that docs/ASVS.md names is there: a name in code font with underscores alone is a test.
#[test]
fn asvs_cites_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let doc = fs::read_to_string(root.join("docs/ASVS.md")).unwrap();
    let settings = fs::read_to_string(root.join("config.default.toml")).unwrap();
    let cited: Vec<_> = doc.split('`').skip(1).step_by(2).collect();
    let is_test =
        |name: &&str| name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let mut tests = 0;
    for name in cited.into_iter().filter(is_test).filter(|name| !settings.contains(&format!("\n{name} = "))) {
        assert!(code.contains(&format!("fn {name}(")), "docs/ASVS.md cites {name}, which is not a test");
        tests += 1;
    }
    assert!(tests > 50, "{tests}");
}
