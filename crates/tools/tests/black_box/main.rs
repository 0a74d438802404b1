//! The programs from outside: command lines in, exit status and output out.

mod backup;
mod crashed;
mod data_dirs;
mod disasters;
mod dump_load;
mod export;
mod help;
mod locked;
mod prepared;
mod proofs;
mod repair;
mod traps;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A scratch directory with an environment in it.
struct Scratch {
    dir: tempfile::TempDir,
}

/// What a program did.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Runs a program on the home.
    fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        self.run_with_input(program, arguments, b"")
    }

    fn run_with_input(&self, program: &str, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = command(program);
        command.env("DB_HOME", self.home()).args(arguments);
        feed(command, input)
    }

    fn load(&self, name: &str, text: &[u8]) {
        let ran = self.run_with_input("db_load", &[name], text);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "loading {name}");
    }
}

fn command(program: &str) -> Command {
    let exe = match program {
        "campanile" => env!("CARGO_BIN_EXE_campanile"),
        "db_archive" => env!("CARGO_BIN_EXE_db_archive"),
        "db_checkpoint" => env!("CARGO_BIN_EXE_db_checkpoint"),
        "db_dump" => env!("CARGO_BIN_EXE_db_dump"),
        "db_hotbackup" => env!("CARGO_BIN_EXE_db_hotbackup"),
        "db_load" => env!("CARGO_BIN_EXE_db_load"),
        "db_printlog" => env!("CARGO_BIN_EXE_db_printlog"),
        "db_recover" => env!("CARGO_BIN_EXE_db_recover"),
        "db_stat" => env!("CARGO_BIN_EXE_db_stat"),
        "db_verify" => env!("CARGO_BIN_EXE_db_verify"),
        other => other,
    };
    Command::new(exe)
}

fn feed(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that refuses early does not read to the end.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Ran {
        status: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

impl Ran {
    /// Asserts the exit status, showing what was said.
    #[track_caller]
    fn exits(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, words: &str) -> Ran {
        let all = format!("{}{}", self.out, self.err);
        assert!(all.contains(words), "{words:?} is not in: {all}");
        self
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {}", self.out))
    }
}

/// A dump shipped with the programs.
fn shipped(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(format!("{name}.zst"));
    let mut text = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    zstd::Decoder::new(file).unwrap().read_to_end(&mut text).unwrap();
    text
}

/// The part of a dump after the header.
fn data_lines(text: &str) -> &str {
    text.split_once("HEADER=END\n").unwrap().1
}

/// A small dump in the printable form.
fn small(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut text = "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n".to_owned();
    for (key, value) in pairs {
        text.push_str(&format!(" {key}\n {value}\n"));
    }
    text.push_str("DATA=END\n");
    text.into_bytes()
}
