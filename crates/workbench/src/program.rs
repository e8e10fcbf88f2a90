//! Which `rtun` is measured and shown: the one built together with this program, or one that is named.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use clap::Args as ClapArgs;

/// The `rtun` of a command line.
#[derive(ClapArgs)]
pub(crate) struct Program {
    /// The rtun program to run, instead of the one in the directory of this program
    #[arg(long, value_name = "PATH")]
    rtun: Option<PathBuf>,
}

/// Why there is no `rtun` to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// The path given is not that of a file.
    #[error("--rtun: there is no file {}", .0.display())]
    NoFile(PathBuf),
    /// None has been built into this directory.
    #[error(
        "there is no program rtun in {}: build both with `cargo build --release -p rtun -p rtun-workbench`, \
         or name one with --rtun PATH", .0.display()
    )]
    NotBuilt(PathBuf),
    /// The directory of this program, or the working directory, is not known.
    #[error("looking for the program rtun: {0}")]
    Io(#[from] io::Error),
}

impl Program {
    /// The absolute path of the program.
    pub(crate) fn find(&self) -> Result<PathBuf, ProgramError> {
        match &self.rtun {
            Some(path) if path.is_file() => Ok(std::path::absolute(path)?),
            Some(path) => Err(ProgramError::NoFile(path.clone())),
            None => built_with(&env::current_exe()?),
        }
    }
}

/// The `rtun` that was built together with the program at this path. Cargo builds tests into the directory `deps`, next
/// to which the programs are.
fn built_with(own: &Path) -> Result<PathBuf, ProgramError> {
    let directory = own.parent().unwrap_or(own);
    let directory = match directory.parent() {
        Some(target) if directory.ends_with("deps") => target,
        _ => directory,
    };
    let program = directory.join("rtun");
    match program.is_file() {
        true => Ok(program),
        false => Err(ProgramError::NotBuilt(directory.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_program_is_found_next_to_this_one_and_next_to_its_tests() {
        let folder = tempfile::tempdir().unwrap();
        let (own, test) =
            (folder.path().join("rtun-workbench"), folder.path().join("deps/workbench-1"));
        for program in [&own, &test] {
            let missing = built_with(program).unwrap_err().to_string();
            assert!(missing.contains(&*folder.path().to_string_lossy()), "{missing}");
            assert!(missing.contains("cargo build --release -p rtun -p rtun-workbench"));
        }
        let rtun = folder.path().join("rtun");
        fs::create_dir(&rtun).unwrap();
        assert!(built_with(&own).is_err(), "a directory is no program");
        fs::remove_dir(&rtun).unwrap();
        fs::write(&rtun, "").unwrap();
        assert_eq!(built_with(&own).unwrap(), rtun);
        assert_eq!(built_with(&test).unwrap(), rtun);
        let elsewhere = folder.path().join("other/rtun-workbench");
        assert!(built_with(&elsewhere).is_err(), "only tests look one directory up");
    }

    #[test]
    fn a_named_program_is_the_one_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other");
        let program = Program { rtun: Some(path.clone()) };
        let missing = program.find().unwrap_err().to_string();
        assert_eq!(missing, format!("--rtun: there is no file {}", path.display()));
        fs::write(&path, "").unwrap();
        assert_eq!(program.find().unwrap(), path);
    }
}
