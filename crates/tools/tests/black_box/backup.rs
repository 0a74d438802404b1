//! Backups from outside: made beside a running owner, archived, restored to a moment, refused.

use crate::Scratch;

const HEADER: &str = "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n";

/// Loads one pair into the database `accounts`.
fn put(scratch: &Scratch, key: &str, value: &str) {
    scratch.load("accounts", format!("{HEADER} {key}\n {value}\nDATA=END\n").as_bytes());
}

fn dump(scratch: &Scratch, home: &str) -> String {
    scratch.run("db_dump", &["-p", "-h", home, "accounts"]).exits(0).out
}

fn text(path: std::path::PathBuf) -> String {
    path.display().to_string()
}

#[test]
fn a_home_comes_back_from_backup_and_archive_and_the_window_is_told() {
    let scratch = Scratch::new();
    put(&scratch, "alice", "100");
    let (repository, other) = (text(scratch.path("repository")), text(scratch.path("other")));
    scratch.run("db_archive", &["--to", &repository]).exits(0).says("archived up to");
    scratch.run("campanile", &["backup", "-r", &repository]).exits(0).says("checked");
    put(&scratch, "bob", "50");
    scratch.run("db_archive", &["--now"]).exits(0).says("archived up to");
    std::fs::remove_dir_all(scratch.home()).unwrap();
    let info = scratch.run("campanile", &["info", "-r", &repository]).exits(0).says("recoverable");
    assert!(info.out.contains("B=") && info.out.contains("complete at"), "{}", info.out);

    let restore = ["restore", "-r", &repository, "-h", &other];
    let dry = [&restore[..], &["--dry-run"]].concat();
    scratch.run("campanile", &dry).exits(0).says("nothing was written");
    assert!(!scratch.path("other").exists());
    scratch.run("campanile", &restore).exits(0).says("timeline");
    let shown = dump(&scratch, &other);
    assert!(shown.contains("alice") && shown.contains("bob"), "{shown}");
    let again = scratch.run("campanile", &restore).exits(1);
    assert!(again.err.contains("is not empty"), "{}", again.err);
}

#[test]
fn a_time_before_a_mistake_comes_back_and_times_out_of_reach_are_refused() {
    let scratch = Scratch::new();
    let repository = text(scratch.path("repository"));
    put(&scratch, "alice", "100");
    scratch.run("campanile", &["backup", "-r", &repository]).exits(0);
    scratch.run("db_archive", &["--to", &repository]).exits(0);
    put(&scratch, "bob", "50");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let before = jiff::Timestamp::now().to_string();
    std::thread::sleep(std::time::Duration::from_millis(20));
    put(&scratch, "alice", "a mistake");
    scratch.run("db_archive", &["--now"]).exits(0);

    let other = text(scratch.path("other"));
    let restore = |time: &str| {
        scratch.run("campanile", &["restore", "-r", &repository, "-h", &other, "-t", time])
    };
    let late = restore("2999-01-01T00:00:00Z").exits(1);
    assert!(late.err.contains("the log does not reach"), "{}", late.err);
    let early = restore("199001010000").exits(1);
    assert!(early.err.contains("use an earlier backup"), "{}", early.err);
    assert!(!scratch.path("other").exists());
    restore(&before).exits(0).says("first out");
    let shown = dump(&scratch, &other);
    assert!(shown.contains("100") && shown.contains("bob"), "{shown}");
    assert!(!shown.contains("mistake"), "{shown}");
}

#[test]
fn a_hot_copy_needs_db_recover_c_and_can_be_updated_before() {
    let scratch = Scratch::new();
    put(&scratch, "alice", "100");
    let copy = text(scratch.path("copy"));
    scratch.run("db_hotbackup", &["-c", "-v", "-b", &copy]).exits(0).says("db_recover -c");
    put(&scratch, "bob", "50");
    scratch.run("db_hotbackup", &["-u", "-v", "-b", &copy]).exits(0).says("up to date");
    let refused = scratch.run("db_verify", &["-h", &copy]).exits(3);
    assert!(refused.err.contains("db_recover -c"), "{}", refused.err);
    scratch.run("db_stat", &["-h", &copy]).exits(0).says("hot copy");
    scratch.run("db_recover", &["-h", &copy]).exits(3);
    let dry = ["-c", "--dry-run", "-h", &copy];
    scratch.run("db_recover", &dry).exits(0).says("nothing on disk was changed");
    scratch.run("db_recover", &["-c", "-v", "-h", &copy]).exits(0).says("timeline");
    let shown = dump(&scratch, &copy);
    assert!(shown.contains("alice") && shown.contains("bob"), "{shown}");
    let full = scratch.run("db_hotbackup", &["-b", &copy]).exits(6);
    assert!(full.err.contains("already"), "{}", full.err);
    let refused = scratch.run("db_hotbackup", &["-b", "x", "-d", "elsewhere"]).exits(6);
    assert!(refused.err.contains("-d: elsewhere"), "{}", refused.err);
    scratch.run("db_recover", &["-t", "202601010000"]).exits(1);
}

#[test]
fn the_homes_own_directories_may_be_named_for_a_hot_copy_and_others_are_refused() {
    let scratch = Scratch::new();
    put(&scratch, "alice", "100");
    let copy = |name: &str, more: &[&str]| {
        let target = text(scratch.path(name));
        scratch.run("db_hotbackup", &[&["-v", "-b", &target], more].concat())
    };
    copy("one", &["-d", "data", "-l", "log"]).exits(0).says("data/data.0000000001");
    copy("two", &["-D"]).exits(0).says("log/log.0000000001");
    std::fs::write(scratch.path("home").join("DB_CONFIG"), "set_data_dir data\nset_lg_dir log\n")
        .unwrap();
    copy("three", &["-D"]).exits(0);
    std::fs::write(scratch.path("home").join("DB_CONFIG"), "set_lg_dir /somewhere\n").unwrap();
    let refused = copy("four", &["-D"]).exits(6);
    assert!(refused.err.contains("/somewhere"), "{}", refused.err);
    assert!(copy("five", &["-l", "/somewhere"]).exits(6).err.contains("-l"));
    copy("six", &["-D", "-l", "log"]).exits(1);
}

#[test]
fn increments_are_made_packed_and_restored_by_commands() {
    let scratch = Scratch::new();
    put(&scratch, "alice", "100");
    let repository = text(scratch.path("safe"));
    let back_up = |more: &[&str]| {
        scratch.run("campanile", &[&["backup", "-r", &repository, "--json"], more].concat())
    };
    let full = back_up(&["-i"]).exits(0).out;
    assert!(full.contains("\"base\": null"), "{full}");
    put(&scratch, "bob", "50");
    let second = back_up(&["--incremental", "--compress", "zstd", "--level", "9", "-j", "2"]);
    let second = second.exits(0).out;
    assert!(second.contains(".inc.zst"), "{second}");
    put(&scratch, "carol", "10");
    let plain = ["backup", "-r", &repository, "-i", "--max-rate", "50M"];
    scratch.run("campanile", &plain).exits(0).says("stands on");
    back_up(&["--base", "20200101_000000"]).exits(8);
    back_up(&["--max-rate", "0"]).exits(1);
    back_up(&["--level", "30"]).exits(1);
    let other = text(scratch.path("other"));
    let restore = ["restore", "-r", &repository, "-h", &other];
    scratch.run("campanile", &restore).exits(0).says("stands on");
    let shown = dump(&scratch, &other);
    assert!(["alice", "bob", "carol"].iter().all(|name| shown.contains(name)), "{shown}");
}

#[test]
fn log_files_are_listed_and_removed() {
    let scratch = Scratch::new();
    put(&scratch, "alice", "100");
    let all = scratch.run("db_archive", &["-l"]).exits(0).out;
    assert!(all.contains("log/log.0000000001"), "{all}");
    let data = scratch.run("db_archive", &["-s", "-a"]).exits(0).out;
    assert!(data.lines().all(|line| line.starts_with('/')), "{data}");
    assert!(data.contains("data/data.0000000001"), "{data}");
    let json = scratch.run("db_archive", &["--json"]).exits(0).out;
    assert!(json.contains("\"files\""), "{json}");
    scratch.run("db_archive", &["-d"]).exits(0);
    scratch.run("db_archive", &["--now"]).exits(8);
    scratch.run("db_verify", &[]).exits(0);
}

#[test]
fn backups_are_proven_marked_and_pruned() {
    let scratch = Scratch::new();
    let repository = text(scratch.path("repository"));
    let campanile = |args: &[&str]| {
        let args = [&args[..1], &["-r", &repository], &args[1..]].concat();
        scratch.run("campanile", &args)
    };
    put(&scratch, "alice", "100");
    scratch.run("db_archive", &["--to", &repository]).exits(0);
    let mut names = Vec::new();
    for round in 0..3 {
        put(&scratch, "bob", &round.to_string());
        campanile(&["backup"]).exits(0);
        let info = campanile(&["info", "--json"]).exits(0);
        let info: serde_json::Value = serde_json::from_str(&info.out).unwrap();
        names.push(info["backups"][round]["name"].as_str().unwrap().to_owned());
    }
    let trial = text(scratch.path("trial"));
    let proof = campanile(&["verify-backup", "--restore", &trial]).exits(0).says("no damage");
    assert!(proof.out.contains("restore of") && !scratch.path("trial").exists(), "{}", proof.out);
    campanile(&["keep", &names[0], "--note", "the first"]).exits(0).says("is kept");
    campanile(&["info"]).exits(0).says("KEPT: the first");
    let home = text(scratch.home().to_path_buf());
    campanile(&["info", "-h", &home]).exits(0).says("archive: has");

    campanile(&["prune"]).exits(1);
    campanile(&["prune", "--keep-last", "1", "--dry-run"]).exits(0).says("nothing was removed");
    campanile(&["prune", "--keep-last", "1"]).exits(0).says("it has a keep mark");
    let backups = scratch.path("repository").join("backup");
    assert!(backups.join(&names[0]).exists() && backups.join(&names[2]).exists());
    assert!(!backups.join(&names[1]).exists());

    let broken = backups.join(&names[2]).join("control");
    let mut bytes = std::fs::read(&broken).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&broken, bytes).unwrap();
    let bad = campanile(&["verify-backup", &names[2]]).exits(2).says("control: its checksum");
    assert!(bad.out.contains("DAMAGED"), "{}", bad.out);
    let json = campanile(&["verify-backup", "--json"]).exits(2);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["clean"], false);
    campanile(&["verify-backup", &names[0]]).exits(0);
    campanile(&["verify-backup", "20200101_000000"]).exits(8);
}
