//! Damage on a real disk, repaired by command; selected databases brought back beside the others.

use crate::{Ran, Scratch};

const HEADER: &str = "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n";

fn load(scratch: &Scratch, database: &str, from: u32) {
    let rows = (from..from + 2000).map(|n| format!(" key{n:06}\n value {database} {n}\n"));
    let text = format!("{HEADER}{}DATA=END\n", rows.collect::<String>());
    scratch.load(database, text.as_bytes());
}

fn dump(scratch: &Scratch, database: &str) -> Ran {
    scratch.run("db_dump", &["-p", database])
}

/// Two databases, of which the repository has the first part, and the log the rest.
fn shop() -> (Scratch, String) {
    let scratch = Scratch::new();
    let repository = scratch.path("repository").display().to_string();
    load(&scratch, "accounts", 0);
    load(&scratch, "orders", 0);
    scratch.run("campanile", &["backup", "-r", &repository]).exits(0);
    load(&scratch, "accounts", 5000);
    load(&scratch, "orders", 5000);
    (scratch, repository)
}

/// The second file of a user's database is that of `orders`.
const ORDERS: &str = "data/data.0000000017";

#[test]
fn a_damaged_page_is_named_with_the_command_that_repairs_it() {
    let (scratch, repository) = shop();
    let (accounts, orders) = (dump(&scratch, "accounts").out, dump(&scratch, "orders").out);
    let path = scratch.home().join(ORDERS);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = 3;
    bytes[page * 8192 + 5000] ^= 0x40;
    std::fs::write(&path, &bytes).unwrap();

    let refused = dump(&scratch, "orders").exits(2);
    assert!(refused.err.contains("campanile repair --page 17:3"), "{}", refused.err);
    assert_eq!(dump(&scratch, "accounts").exits(0).out, accounts, "the others are not touched");
    let found = scratch.run("db_verify", &[]).exits(2);
    assert!(found.err.contains("17") || found.out.contains("17"), "{}{}", found.out, found.err);

    let repair =
        |more: &[&str]| scratch.run("campanile", &[&["repair", "-r", &repository], more].concat());
    repair(&["--all", "--dry-run"]).exits(0).says("nothing was written");
    dump(&scratch, "orders").exits(2);
    repair(&["--page", "17:3"]).exits(0).says("page 3");
    assert_eq!(dump(&scratch, "orders").exits(0).out, orders);
    scratch.run("db_verify", &[]).exits(0);
    repair(&["--all"]).exits(0).says("nothing is damaged");
    repair(&[]).exits(1);
}

#[test]
fn a_deleted_data_file_is_named_and_comes_back() {
    let (scratch, repository) = shop();
    let orders = dump(&scratch, "orders").out;
    std::fs::remove_file(scratch.home().join(ORDERS)).unwrap();
    let refused = dump(&scratch, "orders").exits(2);
    assert!(refused.err.contains("data.0000000017"), "{}", refused.err);
    assert!(refused.err.contains("campanile repair --file 17"), "{}", refused.err);
    dump(&scratch, "accounts").exits(0);
    let repair = ["repair", "-r", &repository, "--database", "orders", "--json"];
    scratch.run("campanile", &repair).exits(0).says("\"database\": \"orders\"");
    assert_eq!(dump(&scratch, "orders").exits(0).out, orders);
    // What is of no use is refused before anything is written.
    let elsewhere = scratch.path("elsewhere").display().to_string();
    let refused = scratch.run("campanile", &["repair", "-r", &elsewhere, "--all"]).exits(1);
    assert!(refused.err.contains("is no repository"), "{}", refused.err);
}

#[test]
fn one_database_comes_back_from_before_a_mistake_under_another_name() {
    let (scratch, repository) = shop();
    let home = scratch.home().display().to_string();
    let only = |what: &str| {
        let arguments = ["restore", "-r", &repository, "--into", &home, "--only", what];
        scratch.run("campanile", &arguments)
    };
    let taken = only("orders").exits(6);
    assert!(taken.err.contains("already"), "{}", taken.err);
    only("orders=orders.before,accounts=accounts.before").exits(0).says("2000 pairs");
    let before = dump(&scratch, "orders.before").exits(0).out;
    assert!(before.contains("key001999") && !before.contains("key005000"));
    let now = dump(&scratch, "orders").exits(0).out;
    assert!(now.contains("key005000"));
    scratch.run("db_verify", &[]).exits(0);
    let new = scratch.path("new").display().to_string();
    let fresh = ["restore", "-r", &repository, "-h", &new, "--only", "orders"];
    scratch.run("campanile", &fresh).exits(0).says("orders as orders");
    scratch.run("db_verify", &["-h", &new]).exits(0);
}
